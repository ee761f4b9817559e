//! Tests of which tensors a file holds and under which names.

use super::tests::{archive, error, file, floats};
use super::*;

/// A dictionary of `names`, each with the same tensor, within the parts of `around`.
fn nested(around: &[&str], names: &[&str]) -> Tensors {
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\n\
                   K\x06tQK\0K\x06\x85K\x01\x85\x89}tR";
    let mut pickle = Vec::new();
    for part in around {
        pickle.extend(format!("}}Vepoch\nK\x03sV{part}\n").bytes());
    }
    pickle.push(b'}');
    for name in names {
        pickle.extend(format!("V{name}\n").bytes());
        pickle.extend(tensor);
        pickle.push(b's');
    }
    pickle.extend(vec![b's'; around.len()]);
    pickle.push(b'.');
    let (_dir, path) = file(&archive(&[("m/data.pkl", &pickle), ("m/data/0", &floats())], false));
    read_checkpoint(path).unwrap().state_dict().unwrap()
}

fn names(tensors: &Tensors) -> Vec<&str> {
    tensors.names().collect()
}

#[test]
fn weights_are_found_where_people_put_them() {
    for around in [
        &[][..],
        &["state_dict"],
        &["model_state_dict"],
        &["model"],
        &["net"],
        &["model", "state_dict"],
        &["state_dict", "module"],
    ] {
        assert_eq!(names(&nested(around, &["b.weight", "a"])), ["b.weight", "a"], "{around:?}");
    }
    assert_eq!(names(&nested(&["student"], &["w"])), ["student.w"]);
    // A weight may be called so.
    assert_eq!(names(&nested(&[], &["model", "net"])), ["model", "net"]);
}

#[test]
fn prefixes_go_only_when_asked() {
    let weights = || nested(&[], &["module.a.w", "module.b.w", "scale"]);
    assert_eq!(names(&weights().strip_prefix("module.").unwrap()), ["a.w", "b.w", "scale"]);
    assert_eq!(names(&weights().under("module.a.").unwrap()), ["w"]);
    assert_eq!(names(&weights().without(|n| n.ends_with("b.w"))), ["module.a.w", "scale"]);
    let e = weights().strip_prefix("model.").unwrap_err().to_string();
    assert!(e.contains("`model.`") && e.contains("there are: module.a.w"), "{e}");
    let e = nested(&[], &["m.w", "w"]).strip_prefix("m.").unwrap_err().to_string();
    assert!(e.contains("tensor `w`: would be the name of two"), "{e}");
}

#[test]
fn a_tensor_is_taken_by_its_name_and_shape() {
    let weights = nested(&[], &["encoder.a.weight", "encoder.a.bias", "head.weight"]);
    assert_eq!(weights.take("head.weight", &[6]).unwrap().dims(), [6]);
    let e = weights.take("head.weight", &[2, 3]).unwrap_err();
    assert!(matches!(e, Error::Shape { .. }), "{e}");
    assert!(e.to_string().contains("expected [2, 3], found [6]"), "{e}");
    let e = weights.take("encoder.b.bias", &[6]).unwrap_err().to_string();
    assert!(e.contains("no tensor `encoder.b.bias`; it has: encoder.a.bias, encoder"), "{e}");
}

#[test]
fn weights_of_another_model_are_refused_with_what_differs() {
    let expected = |names: &[&str]| -> Vec<(String, Vec<usize>)> {
        names.iter().map(|n| (n.to_string(), vec![6])).collect()
    };
    let weights = || nested(&[], &["a", "b", "c"]);
    assert_eq!(weights().into_exactly(&expected(&["c", "a", "b"])).unwrap().len(), 3);
    let mut others = expected(&["a", "x", "y"]);
    others[0].1 = vec![3, 2];
    let e = weights().into_exactly(&others).unwrap_err().to_string();
    assert!(
        e.ends_with(
            "of 3 tensors 2 missing (`x`, `y`); 2 not expected (`b`, `c`); 1 of another shape \
             (`a` [6] instead of [3, 2])"
        ),
        "{e}"
    );
    let many: Vec<String> = (0..50).map(|i| format!("layer.{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let e = weights().into_exactly(&expected(&many)).unwrap_err().to_string();
    assert!(e.contains("50 missing") && e.contains("and 45 more") && e.len() < 400, "{e}");
    let e = nested(&[], &["module.a", "module.b"]).into_exactly(&expected(&["a", "b"]));
    let e = e.unwrap_err().to_string();
    assert!(e.contains("2 of them are there with `module.`") && e.contains("strip_prefix"), "{e}");
}

#[test]
fn names_without_end_are_refused() {
    // Sixty dictionaries, each twice in the next: 2^60 names for one tensor.
    let mut pickle = b"\x80\x02".to_vec();
    pickle
        .extend(b"}Vw\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\n");
    pickle.extend(b"Vcpu\nK\x06tQK\0K\x06\x85K\x01\x85\x89}tRs");
    for _ in 0..60 {
        pickle.extend(b"q\0}(Va\nh\0Vb\nh\0u");
    }
    pickle.push(b'.');
    let e = error(&archive(&[("m/data.pkl", &pickle), ("m/data/0", &floats())], false));
    assert!(e.contains("without end"), "{e}");
}

#[test]
fn looking_again_and_again_has_an_end() {
    let begun = std::time::Instant::now();
    // An object of 100,000 attributes, met 100,000 times; the same of a list and of a dictionary.
    let many = |start: &[u8], one: &[u8], end: &[u8]| {
        let mut pickle = [start, &one.repeat(100_000), end, b"q\0]("].concat();
        pickle.extend(b"h\0".repeat(100_000));
        pickle.extend(b"e.");
        error(&archive(&[("m/data.pkl", &pickle)], false))
    };
    for e in [
        many(b"cmy\nNet\n)\x81}(", b"K\x01N", b"ub"),
        many(b"](", b"N", b"e"),
        many(b"}(", b"K\x01N", b"u"),
    ] {
        assert!(e.contains("without end"), "{e}");
    }
    assert!(begun.elapsed().as_secs() < 20);
}

#[test]
fn tied_weights_share_their_memory() {
    let weights = nested(&[], &["a", "b"]).read_all().unwrap();
    let start = |name: &str| match &*weights[name].storage_and_layout().0 {
        candle_core::Storage::Cpu(s) => s.as_slice::<f32>().unwrap().as_ptr(),
        _ => panic!("not on the CPU"),
    };
    assert_eq!(start("a"), start("b"));
}
