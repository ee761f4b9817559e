//! What the parity tests against anndata do not show: errors, and small cases to read.

use super::*;
use crate::anndata::{Column, Dense, Values};
use ndarray::{Array2, array};

fn named(names: &[&str]) -> Frame {
    Frame::new(names.iter().map(|s| s.to_string()).collect())
}

fn object(x: impl Into<Matrix>, obs: &[&str], var: &[&str]) -> AnnData {
    AnnData::new(x, named(obs), named(var)).unwrap()
}

fn sparse(x: Array2<f32>) -> Matrix {
    Matrix::Csr(Matrix::from(x).to_csr())
}

fn pair() -> (AnnData, AnnData) {
    let a = object(array![[1f32, 2.], [3., 4.]], &["s1", "s2"], &["g2", "g1"]);
    let b = object(array![[5f32, 6., 7.]], &["s1"], &["g3", "g1", "g2"]);
    (a, b)
}

#[test]
fn an_inner_join_keeps_the_order_of_the_first() {
    let (a, b) = pair();
    let c = Concat::default().run(&[&a, &b]).unwrap();
    assert_eq!(c.var.names(), ["g2", "g1"]);
    assert_eq!(c.obs.names(), ["s1", "s2", "s1"]);
    assert_eq!(c.x().unwrap().to_array_f32(), array![[1f32, 2.], [3., 4.], [7., 6.]]);
}

#[test]
fn an_outer_join_sorts_and_fills() {
    let (a, b) = pair();
    let outer = Concat::default().outer().index_unique("-").keys(["l", "r"]).label("side");
    let c = outer.run(&[&a, &b]).unwrap();
    assert_eq!(c.var.names(), ["g1", "g2", "g3"]);
    assert_eq!(c.obs.names(), ["s1-l", "s2-l", "s1-r"]);
    let x = c.x().unwrap().to_array_f32();
    assert_eq!(x.column(0), array![2f32, 4., 6.]);
    assert!(x[[0, 2]].is_nan() && x[[2, 2]] == 5.0);
    assert_eq!(c.x().unwrap().values().dtype(), "float32");
    let side = c.obs_column("side").unwrap().to_categorical();
    assert_eq!((side.codes, side.categories), (vec![0, 0, 1], vec!["l".into(), "r".into()]));
    let filled = outer.fill_value(0.0).run(&[&a, &b]).unwrap();
    assert_eq!(filled.x().unwrap().to_array_f32()[[1, 2]], 0.0);
}

#[test]
fn sparse_and_dense_together_are_sparse_with_zeros() {
    let (a, mut b) = pair();
    b.x = Some(sparse(array![[5f32, 0., 7.]]));
    let c = Concat::default().outer().run(&[&a, &b]).unwrap();
    let Some(Matrix::Csr(x)) = &c.x else { panic!("CSR") };
    assert_eq!(
        Matrix::Csr(x.clone()).to_array_f32(),
        array![[2f32, 1., 0.], [4., 3., 0.], [0., 7., 5.]]
    );
    assert_eq!(x.nnz(), 6, "no zero is stored");
}

#[test]
fn variables_one_after_the_other() {
    let a = object(sparse(array![[1f32, 0.], [0., 2.]]), &["s1", "s2"], &["g1", "g2"]);
    let b = object(sparse(array![[3f32], [4.], [5.]]), &["s2", "s3", "s1"], &["g3"]);
    let c = Concat::default().vars().run(&[&a, &b]).unwrap();
    assert_eq!(c.x().unwrap().to_array_f32(), array![[1f32, 0., 5.], [0., 2., 3.]]);
    let c = Concat::default().vars().outer().fill_value(9.0).run(&[&a, &b]).unwrap();
    assert_eq!(c.obs.names(), ["s1", "s2", "s3"]);
    assert_eq!(c.x().unwrap().to_array_f32(), array![[1f32, 0., 5.], [0., 2., 3.], [9., 9., 4.]]);
}

#[test]
fn columns_find_the_type_they_share() {
    let of = |columns: [Option<Column>; 2]| {
        let parts: Vec<AnnData> = columns
            .into_iter()
            .map(|c| {
                let mut a = AnnData { obs: Frame::with_len(2), ..AnnData::default() };
                if let Some(c) = c {
                    a.obs.insert("k", c).unwrap();
                }
                a
            })
            .collect();
        let c = Concat::default().outer().run(&[&parts[0], &parts[1]]).unwrap();
        c.obs_column("k").unwrap().clone()
    };
    let dtype = |columns| of(columns).dtype();
    assert_eq!(dtype([Some(vec![1i8, 2].into()), Some(vec![1u8, 2].into())]), "int16");
    assert_eq!(dtype([Some(vec![1i64, 2].into()), Some(vec![1u64, 2].into())]), "float64");
    assert_eq!(dtype([Some(vec![1u16, 2].into()), Some(vec![1f32, 2.].into())]), "float32");
    assert_eq!(dtype([Some(vec![1i32, 2].into()), None]), "float64");
    assert_eq!(dtype([None, Some(vec![1f32, 2.].into())]), "float32");
    let yes = of([Some(vec![true, false].into()), None]);
    let missing = vec![false, false, true, true];
    let values = Values::Bool(vec![true, false, false, false]);
    assert_eq!(yes, Column::Nullable { values, missing });
    let text = |s: [&str; 2]| Column::Str(s.map(|t| Some(t.to_string())).to_vec());
    let mixed = of([Some(text(["a", "b"])), Some(vec![1i64, 2].into())]);
    assert_eq!(mixed.text(3).unwrap(), "2");
    let labels = |s: [&str; 2]| Some(Categorical::from_labels(&s.map(Some)).into());
    let union = of([labels(["L10", "L2"]), labels(["L9", "L2"])]).to_categorical();
    assert_eq!(union.categories, ["L2", "L9", "L10"]);
    assert_eq!(union.codes, [2, 0, 1, 0]);
}

#[test]
fn what_does_not_follow_the_axis_is_kept_as_asked() {
    let (mut a, mut b) = pair();
    a.var.insert("same", vec![2i64, 1]).unwrap();
    b.var.insert("same", vec![3i64, 1, 2]).unwrap();
    a.var.insert("own", vec![0i64, 0]).unwrap();
    a.uns.insert("n".into(), Value::int(1));
    b.uns.insert("n".into(), Value::float(1.0));
    b.uns.insert("m".into(), Value::int(3));
    let columns = |merge| {
        let c = Concat::default().merge(merge).uns_merge(merge).run(&[&a, &b]).unwrap();
        let names: Vec<String> = c.var.columns().map(|(k, _)| k.to_string()).collect();
        (names.join(" "), c.uns.keys().cloned().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(columns(Merge::None), ("".into(), "".into()));
    assert_eq!(columns(Merge::Same), ("same".into(), "n".into()));
    assert_eq!(columns(Merge::Unique), ("same own".into(), "n m".into()));
    assert_eq!(columns(Merge::First), ("same own".into(), "n m".into()));
    assert_eq!(columns(Merge::Only), ("own".into(), "m".into()));
}

#[test]
fn blocks_lie_on_the_diagonal() {
    let (mut a, mut b) = pair();
    a.obsp.insert("graph".into(), sparse(array![[0f32, 1.], [1., 0.]]));
    b.obsp.insert("graph".into(), array![[2f32]].into());
    let c = Concat::default().pairwise().run(&[&a, &b]).unwrap();
    let expected = array![[0f32, 1., 0.], [1., 0., 0.], [0., 0., 2.]];
    assert_eq!(c.obsp["graph"].to_array_f32(), expected);
    assert!(Concat::default().run(&[&a, &b]).unwrap().obsp.is_empty());
}

#[test]
fn what_cannot_be_put_together_is_said() {
    let (a, mut b) = pair();
    let said = |c: Concat, parts: &[&AnnData]| c.run(parts).unwrap_err().to_string();
    assert!(said(Concat::default(), &[]).contains("at least one"));
    assert!(said(Concat::default().keys(["x"]), &[&a, &b]).contains("expected 2, found 1"));
    assert!(said(Concat::default().keys(["x", "x"]), &[&a, &b]).contains("given twice"));
    b.var = named(&["g1", "g1", "g2"]);
    let e = said(Concat::default(), &[&a, &b]);
    assert!(e.contains("object 1") && e.contains("var_names_make_unique"), "{e}");
    let (mut a, b) = pair();
    a.x = None;
    assert!(said(Concat::default(), &[&a, &b]).contains("1 of 2 objects have X"));
    let (mut a, mut b) = pair();
    a.obsm.insert("t".into(), array![[1f64], [2.]].into());
    b.obsm_frames.insert("t".into(), Frame::with_len(1));
    assert!(said(Concat::default(), &[&a, &b]).contains("a table in one object"));
}

#[test]
fn one_object_alone_comes_back() {
    let (a, _) = pair();
    assert_eq!(Concat::default().outer().run(&[&a]).unwrap(), a);
    let whole = Dense::new(1, 1, vec![-3i8]).unwrap();
    let b = object(Matrix::Dense(whole), &["s"], &["g"]);
    assert_eq!(Concat::default().run(&[&b, &b]).unwrap().x().unwrap().values().dtype(), "int8");
}
