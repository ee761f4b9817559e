//! Small tables of either kind, what pandas makes of them, and damaged ones.

use super::*;
use crate::anndata::{Categorical, Values};
use crate::rng::Rng;
use ::parquet::basic::Compression;
use ::parquet::data_type as pq;
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use std::fs;
use std::io::Write;
use std::sync::Arc;

fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text).unwrap();
    out.finish().unwrap()
}

fn read(text: &str) -> Frame {
    let (_dir, path) = written("a.txt", text.as_bytes());
    read_table(path).unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

fn message(text: &str) -> String {
    let (_dir, path) = written("a.csv", text.as_bytes());
    read_table(path).unwrap_err().to_string()
}

fn texts(v: &[&str]) -> Column {
    let value = |t: &&str| (*t != "-").then(|| t.to_string());
    Column::Str(v.iter().map(value).collect())
}

fn column(text: &str) -> Column {
    let frame = read(&format!("a,b\n{}\n", text.replace(' ', ",0\n") + ",0"));
    frame.get("a").unwrap().clone()
}

/// The expected columns are what pandas 2.3 makes of the same text.
#[test]
fn types_are_inferred_as_in_pandas() {
    assert_eq!(column("1 -2 +3"), vec![1i64, -2, 3].into());
    assert_eq!(column("007 8 9"), vec![7i64, 8, 9].into());
    assert_eq!(column("1 2.5 -0"), vec![1.0, 2.5, -0.0].into());
    assert_eq!(column("5. .5 1e3"), vec![5.0, 0.5, 1000.0].into());
    assert_eq!(column("True FALSE true"), vec![true, false, true].into());
    assert_eq!(column("True 1"), texts(&["True", "1"]));
    assert_eq!(column("1 x 1.50"), texts(&["1", "x", "1.50"]));
    assert_eq!(column("1_0 2"), texts(&["1_0", "2"]));
    assert_eq!(column("0x10 1"), texts(&["0x10", "1"]));
    assert_eq!(column("1 9223372036854775808"), vec![1u64, 1 << 63].into());
    assert_eq!(column("-1 9223372036854775808"), texts(&["-1", "9223372036854775808"]));
    assert_eq!(column("99999999999999999999999 1"), texts(&["99999999999999999999999", "1"]));
    let infinite = column("inf -Infinity 1");
    assert_eq!(infinite, vec![f64::INFINITY, f64::NEG_INFINITY, 1.0].into());
    assert_eq!(column("NAN 1"), texts(&["NAN", "1"]));
}

#[test]
fn missing_values_are_those_of_pandas() {
    for word in [
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
        "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    ] {
        let frame = read(&format!("a,b,c,d\n1,1.5,x,{word}\n{word},{word},{word},{word}\n"));
        for (name, dtype) in [("a", "float64"), ("b", "float64"), ("c", "string"), ("d", "float64")]
        {
            let column = frame.get(name).unwrap();
            assert_eq!((column.dtype(), column.text(1)), (dtype, None), "{name} {word:?}");
        }
    }
    // No float64 holds this one: better nullable than wrong.
    let large = Values::I64(vec![(1 << 53) + 1, 0]);
    let kept = Column::Nullable { values: large, missing: vec![false, true] };
    assert_eq!(column("9007199254740993 NA"), kept);
    let values = Values::Bool(vec![true, false]);
    assert_eq!(column("True NA"), Column::Nullable { values, missing: vec![false, true] });
}

#[test]
fn numbers_are_rounded_correctly() {
    let mut rng = Rng::new(5);
    for i in 0..20_000u64 {
        let x = match i % 4 {
            0 => f64::from_bits(rng.next_u64()),
            1 => (rng.next_u64() % 1_000_000_000) as f64 / 1e4,
            2 => rng.next_u64() as f64 / u64::MAX as f64 * 1e4,
            _ => (rng.next_u64() >> 40) as f64,
        };
        if !x.is_finite() {
            continue;
        }
        for text in [format!("{x}"), format!("{x:e}"), format!("{x:.17}"), format!("{x:.6}")] {
            let exact: f64 = text.parse().unwrap();
            let got = field::number(text.as_bytes()).map(field::Number::to_f64);
            let beyond = exact.fract() == 0.0 && exact.abs() > 1e18 && !text.contains(['.', 'e']);
            assert!(got == Some(exact) || (beyond && got.is_none()), "{text}: {got:?}");
        }
    }
}

#[test]
fn every_delimiter_is_seen() {
    for delimiter in [",", "\t", ";", "|", " ", "   "] {
        let text = "x,y,name\n1,2.5,a\n3,4.5,b\n".replace(',', delimiter);
        let frame = read(&text);
        assert_eq!(frame.get("x").unwrap(), &vec![1i64, 3].into(), "{delimiter:?}");
        assert_eq!(frame.get("name").unwrap(), &texts(&["a", "b"]), "{delimiter:?}");
    }
    let (_dir, path) = written("transform.csv", b"9.2 0 1\n0 1 2\n");
    assert_eq!(Table::open(&path).unwrap().columns().len(), 3);
    let (_dir, path) = written("names.csv", b"long name\nMus musculus\n");
    assert_eq!(Table::open(&path).unwrap().columns(), ["long name"]);
    assert_eq!(read("only\n1\n2\n").get("only").unwrap(), &vec![1i64, 2].into());
    assert_eq!(read("\u{feff}x,y\r\n1,a\r\n\r\n2,b").get("y").unwrap(), &texts(&["a", "b"]));
}

#[test]
fn quotes_hold_delimiters_and_line_breaks() {
    let frame = read("a,b,c\n\"x,\n1\",\"say \"\"no\"\"\",1\n5'-\"end\",\"t\"u,2\n");
    assert_eq!(frame.get("a").unwrap(), &texts(&["x,\n1", "5'-\"end\""]));
    assert_eq!(frame.get("b").unwrap(), &texts(&["say \"no\"", "tu"]));
    assert_eq!(frame.get("c").unwrap(), &vec![1i64, 2].into());
    assert!(message("a,b\n1,\"open\n2,3\n").contains("never closed"));
}

#[test]
fn a_header_is_told_from_a_record() {
    let frame = read("AAA-1,1,0,10.5\nCCC-1,0,2,20.5\n");
    assert_eq!(frame.get("0").unwrap(), &texts(&["AAA-1", "CCC-1"]));
    assert_eq!(frame.len(), 2);
    let frame = read("\"\",\"1\",\"2\"\n\"g\",3,4\n");
    assert_eq!(frame.get("Unnamed: 0").unwrap(), &texts(&["g"]));
    assert_eq!(frame.get("2").unwrap(), &vec![4i64].into());
    let names: Vec<String> =
        read("a,a,,b,\n1,2,3,4,5\n").columns().map(|(n, _)| n.to_string()).collect();
    assert_eq!(names, ["a", "a.1", "Unnamed: 2", "b", "Unnamed: 4"]);
    // A header of one field less, as R writes it: the first field is the name of the row.
    let frame = read("x y\nNA 1 2\nr2 3 4\n");
    assert_eq!(frame.names(), ["NA", "r2"]);
    assert_eq!(frame.get("y").unwrap(), &vec![2i64, 4].into());
    let (_dir, path) = written("a.csv", b"1,2\n3,4\n");
    let table = Table::open(&path).unwrap();
    assert_eq!((table.columns().len(), table.n_rows().unwrap()), (2, 2));
    assert_eq!(table.header(true).unwrap().n_rows().unwrap(), 1);
}

#[test]
fn malformed_text_is_reported_with_its_line() {
    assert!(message("a,b\n1,2\n3,4,5\n6,7\n").contains("line 3: 2 fields expected, 3 found"));
    assert!(message("a,b\n1,2\n\n\"x\ny\",2\n3\n").contains("line 6: 2 fields expected, 1 found"));
    let (_dir, path) = written("a.csv", b"a,b\n1,x\n2,\xff\n");
    let e = read_table(&path).unwrap_err().to_string();
    assert!(e.contains("line 3: field 2 is not UTF-8"), "{e}");
    let text = "a,b\n1,2\n".repeat(1000);
    let packed = gzip(text.as_bytes());
    let (_dir, path) = written("a.csv.gz", &packed[..packed.len() / 2]);
    let e = read_table(&path).unwrap_err().to_string();
    assert!(e.contains("damaged gzip file"), "{e}");
    let (_dir, path) = written("a.csv", b"");
    assert!(read_table(&path).unwrap_err().to_string().contains("empty"));
    let (_dir, path) = written("a.csv", b"a\0b\n");
    assert!(read_table(&path).unwrap_err().to_string().contains("not a table of text"));
    let (_dir, path) = written("a.csv", b"a,b\n1,2\n");
    let e = Table::open(&path).unwrap().select(&["c"]).unwrap_err().to_string();
    assert_eq!(e, "table has no column `c`; it has: a, b");
    let e = Table::open(&path).unwrap().categories(&["c"]).read().unwrap_err().to_string();
    assert!(e.contains("no column `c`"), "{e}");
}

/// A table that is larger than a block of text: types must not depend on where blocks are cut.
#[test]
fn long_tables_are_whole() {
    let n = 700_000;
    let mut text = String::from("n,half,late,gene,\"quoted\"\n");
    for i in 0..n {
        let late = if i == n - 5 { "x".into() } else { i.to_string() };
        text += &format!("{i},{},{late},g{},\"{i}, \n\"\n", i as f64 / 2.0, i % 40);
    }
    for (name, bytes) in [("a.csv", text.clone().into_bytes()), ("a.csv.gz", gzip(text.as_bytes()))]
    {
        let (_dir, path) = written(name, &bytes);
        let table = Table::open(&path).unwrap().categories(&["gene"]);
        assert_eq!(table.n_rows().unwrap(), n);
        let frame = table.read().unwrap();
        assert_eq!(frame.get("n").unwrap(), &(0..n as i64).collect::<Vec<_>>().into());
        let half: Vec<f64> = (0..n).map(|i| i as f64 / 2.0).collect();
        assert_eq!(frame.get("half").unwrap(), &half.into());
        let late = frame.get("late").unwrap();
        assert_eq!(late.dtype(), "string");
        assert_eq!((late.text(7).unwrap(), late.text(n - 5).unwrap()), ("7".into(), "x".into()));
        let Some(Column::Categorical(gene)) = frame.get("gene") else { panic!() };
        assert_eq!((gene.categories.len(), gene.label(41)), (40, Some("g1")));
        assert_eq!(frame.get("quoted").unwrap().text(n - 1).unwrap(), format!("{}, \n", n - 1));

        let mut rows = 0;
        for block in table.blocks(&["n", "gene"], 123_456).unwrap() {
            let block = block.unwrap();
            assert!(block.len() == 123_456 || rows + block.len() == n);
            assert_eq!(block.get("n").unwrap().text(0).unwrap(), rows.to_string());
            assert_eq!(block.names()[0], rows.to_string());
            let Some(Column::Categorical(gene)) = block.get("gene") else { panic!() };
            assert_eq!(gene.label(1).unwrap(), format!("g{}", (rows + 1) % 40));
            rows += block.len();
        }
        assert_eq!(rows, n);
        let e = table.blocks(&["late"], n / 2).unwrap().last().unwrap().unwrap_err().to_string();
        assert!(e.contains("`late`") && e.contains(".text(&[\"late\"])"), "{e}");
        let table = table.text(&["late"]);
        assert!(table.blocks(&["late"], 100_000).unwrap().all(|b| b.is_ok()));
    }
}

const SCHEMA: &str = "message schema {
    required int32 id; optional int64 big; optional double x; optional boolean ok;
    optional binary gene (STRING); required binary cell; optional int32 small (INTEGER(8,false));
    optional int32 day (DATE); optional group list { repeated int32 item; } }";

/// A table with every kind of column, in row groups of the given sizes.
fn parquet(groups: &[usize], codec: Compression, version: WriterVersion) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_writer_version(version)
        .set_dictionary_page_size_limit(2_000)
        .set_data_page_row_count_limit(70)
        .set_write_batch_size(10)
        .build();
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties)).unwrap();
    let mut first = 0;
    for &n in groups {
        let rows: Vec<usize> = (first..first + n).collect();
        first += n;
        // Every seventh is missing.
        let levels: Vec<i16> = rows.iter().map(|i| i16::from(i % 7 != 0)).collect();
        let there = || rows.iter().filter(|i| *i % 7 != 0);
        let text = |s: String| pq::ByteArray::from(s.into_bytes());
        let mut group = writer.next_row_group().unwrap();
        macro_rules! column {
            ($ty:ty, $values:expr, $levels:expr, $repeats:expr) => {{
                let values: Vec<_> = $values.collect();
                let mut column = group.next_column().unwrap().unwrap();
                column.typed::<$ty>().write_batch(&values, $levels, $repeats).unwrap();
                column.close().unwrap();
            }};
        }
        column!(pq::Int32Type, rows.iter().map(|&i| i as i32), None, None);
        column!(pq::Int64Type, there().map(|&i| (1 << 60) + i as i64), Some(&levels), None);
        column!(pq::DoubleType, there().map(|&i| i as f64 / 3.0), Some(&levels), None);
        column!(pq::BoolType, there().map(|&i| i % 2 == 0), Some(&levels), None);
        column!(
            pq::ByteArrayType,
            there().map(|i| text(format!("g{}", i % 5))),
            Some(&levels),
            None
        );
        column!(pq::ByteArrayType, rows.iter().map(|i| text(format!("cell-{i}"))), None, None);
        column!(pq::Int32Type, there().map(|&i| (i % 256) as i32), Some(&levels), None);
        column!(pq::Int32Type, there().map(|&i| i as i32), Some(&levels), None);
        let ones = vec![1i16; n];
        let zeros = vec![0i16; n];
        let two: Vec<i16> = ones.iter().map(|_| 2).collect();
        column!(pq::Int32Type, rows.iter().map(|&i| i as i32), Some(&two), Some(&zeros));
        group.close().unwrap();
    }
    writer.close().unwrap();
    out
}

#[test]
fn a_column_that_begins_in_the_midst_of_another_is_refused() {
    let schema = parse_message_type("message m { required int32 a; required int32 b; }").unwrap();
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for _ in 0..2 {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<pq::Int32Type>().write_batch(&[7; 300], None, None).unwrap();
        column.close().unwrap();
    }
    let second = group.close().unwrap().column(1).data_page_offset();
    writer.close().unwrap();
    let (dir, path) = written("a.parquet", &bytes);
    assert_eq!(read_table(&path).unwrap().get("b").unwrap(), &vec![7i32; 300].into());

    // In the first page there is what could be a header: field 15, a list of 2^31 - 1 booleans. The
    // second column is said to begin there.
    let data =
        4 + super::thrift::check(&bytes[4..], 1000, super::thrift::PAGE_HEADER).unwrap() as usize;
    bytes[data..data + 7].copy_from_slice(&[0xf9, 0xf1, 0xff, 0xff, 0xff, 0xff, 7]);
    let varint = |n: usize| [(n << 1 & 0x7f) as u8 | 0x80, (n >> 6) as u8];
    let (old, new) = (varint(second as usize), varint(data));
    let places: Vec<usize> = (second as usize..bytes.len() - 3)
        .filter(|&i| bytes[i] == 0x26 && bytes[i + 1..i + 3] == old)
        .collect();
    assert!(!places.is_empty());
    places.iter().for_each(|i| bytes[i + 1..i + 3].copy_from_slice(&new));
    std::fs::write(&path, &bytes).unwrap();
    let e = read_table(&path).unwrap_err().to_string();
    assert!(e.contains("header of a page") && e.contains("list of 2147483647 elements"), "{e}");
    drop(dir);
}

const READABLE: [&str; 7] = ["id", "big", "x", "ok", "gene", "cell", "small"];

fn check_parquet(frame: &Frame, first: usize) {
    let column = |name: &str| frame.get(name).unwrap();
    assert_eq!(column("id").dtype(), "int32");
    assert_eq!(column("big").dtype(), "int64");
    assert_eq!(column("small").dtype(), "uint8");
    for row in 0..frame.len() {
        let i = first + row;
        let get = |name: &str| column(name).text(row);
        let maybe = |s: String| (!i.is_multiple_of(7)).then_some(s);
        assert_eq!(get("id"), Some(i.to_string()));
        assert_eq!(get("big"), maybe(((1i64 << 60) + i as i64).to_string()));
        assert_eq!(get("x"), maybe((i as f64 / 3.0).to_string()));
        assert_eq!(get("ok"), maybe(i.is_multiple_of(2).to_string()));
        assert_eq!(get("gene"), maybe(format!("g{}", i % 5)));
        assert_eq!(get("cell"), Some(format!("cell-{i}")));
        assert_eq!(get("small"), maybe((i % 256).to_string()));
    }
}

#[test]
fn parquet_of_every_codec_is_read_in_its_own_types() {
    use Compression::*;
    for codec in [UNCOMPRESSED, SNAPPY, ZSTD(Default::default()), GZIP(Default::default()), LZ4_RAW]
    {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let (_dir, path) = written("a.parquet", &parquet(&[300, 1, 500], codec, version));
            let table = Table::open(&path).unwrap();
            assert_eq!(table.n_rows().unwrap(), 801);
            check_parquet(&table.select(&READABLE).unwrap(), 0);
            let table = table.categories(&["gene", "cell"]);
            let frame = table.select(&READABLE).unwrap();
            check_parquet(&frame, 0);
            let Some(Column::Categorical(Categorical { categories, .. })) = frame.get("gene")
            else {
                panic!()
            };
            assert_eq!(categories, &["g0", "g1", "g2", "g3", "g4"]);
            let mut rows = 0;
            for block in table.blocks(&READABLE, 123).unwrap() {
                let block = block.unwrap();
                check_parquet(&block, rows);
                rows += block.len();
            }
            assert_eq!(rows, 801);
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_column() {
    let bytes = parquet(&[10], Compression::SNAPPY, WriterVersion::PARQUET_1_0);
    let (_dir, path) = written("a.parquet", &bytes);
    let table = Table::open(&path).unwrap();
    assert_eq!(table.columns().len(), 9);
    let e = table.select(&["day"]).unwrap_err().to_string();
    assert!(e.contains("`day`") && e.contains("date"), "{e}");
    let e = table.read().unwrap_err().to_string();
    assert!(e.contains("`day`") && e.contains(".select(&[\"id\", \"big\""), "{e}");
    let e = table.select(&["list"]).unwrap_err().to_string();
    assert!(e.contains("lists or records"), "{e}");
    assert_eq!(table.bytes("cell").unwrap()[3].as_deref(), Some(&b"cell-3"[..]));
    assert_eq!(table.bytes("gene").unwrap()[0], None);
}

#[test]
fn a_folder_of_parts_is_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = parquet(&[10], Compression::SNAPPY, WriterVersion::PARQUET_1_0);
    for i in 0..12 {
        fs::write(dir.path().join(format!("part.{i}.parquet")), &bytes).unwrap();
    }
    let table = Table::open(dir.path()).unwrap();
    assert_eq!(table.n_rows().unwrap(), 120);
    assert_eq!(table.select(&["id"]).unwrap().get("id").unwrap().text(119).unwrap(), "9");
    fs::write(dir.path().join("part.12.parquet"), &bytes[..100]).unwrap();
    let e = Table::open(dir.path()).unwrap_err().to_string();
    assert!(e.contains("part.12.parquet") && e.contains("cut short"), "{e}");
}

#[test]
fn damaged_parquet_is_refused_or_read_but_never_panics() {
    let mut rng = Rng::new(3);
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let bytes = parquet(&[200, 50], Compression::SNAPPY, version);
        let (_dir, path) = written("a.parquet", &bytes);
        for i in 0..100 {
            fs::write(&path, &bytes[..bytes.len() * i / 100]).unwrap();
            assert!(Table::open(&path).is_err());
        }
        for _ in 0..600 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + rng.next_u64() % 4 {
                let at = (rng.next_u64() as usize) % bytes.len();
                bytes[at] ^= 1 << (rng.next_u64() % 8);
            }
            fs::write(&path, &bytes).unwrap();
            let Ok(table) = Table::open(&path) else { continue };
            for name in READABLE {
                for table in [table.clone(), table.clone().categories(&["gene", "cell"])] {
                    if let Ok(frame) = table.select(&[name]) {
                        assert_eq!(Some(frame.len()), table.n_rows().ok());
                    }
                }
            }
        }
    }
}
