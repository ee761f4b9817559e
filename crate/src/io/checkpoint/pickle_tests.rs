//! Tests of the machine: pickles of every protocol, of Python 2, and of nobody.

use super::heap::{Heap, Value};
use super::input::Input;
use super::value::from_heap;
use super::{PyValue, pickle};
use crate::error::Result;
use std::path::Path;

fn load(bytes: &[u8]) -> Result<PyValue> {
    let path = Path::new("a.pt");
    let mut heap = Heap::new(bytes.len() as u64);
    let value = pickle::load(&mut Input::whole(path, bytes.to_vec()), &mut heap)?;
    from_heap(&heap, value, path)
}

fn text(bytes: &[u8]) -> String {
    load(bytes).unwrap_or_else(|e| panic!("{e}: {}", bytes.escape_ascii())).to_string()
}

fn error(bytes: &[u8]) -> String {
    match load(bytes) {
        Ok(value) => panic!("{}: {value}", bytes.escape_ascii()),
        Err(e) => e.to_string(),
    }
}

/// Python 3.11: `pickle.dumps({"n": None, "t": (True, False, -1, 300, 70000, 1 << 40, 1.5),
/// "s": "a\nä€", "b": b"\0\xff", "l": [[], [1, 2]], "d": {}, "set": {3}, "one": (1,),
/// "two": (1, 2), "three": (1, 2, 3), "u": 1 << 70}, protocol)`, protocols 0, 1, 2, 4.
#[rustfmt::skip]
const DUMPS: [&[u8]; 4] = [
    b"(dp0\nVn\np1\nNsVt\np2\n(I01\nI00\nI-1\nI300\nI70000\nL1099511627776L\nF1.5\ntp3\
      \nsVs\np4\nVa\\u000a\xe4\\u20ac\np5\nsVb\np6\nc_codecs\nencode\np7\n(V\\u0000\
      \xff\np8\nVlatin1\np9\ntp10\nRp11\nsVl\np12\n(lp13\n(lp14\na(lp15\nI1\naI2\naasV\
      d\np16\n(dp17\nsVset\np18\nc__builtin__\nset\np19\n((lp20\nI3\natp21\nRp22\nsVon\
      e\np23\n(I1\ntp24\nsVtwo\np25\n(I1\nI2\ntp26\nsVthree\np27\n(I1\nI2\nI3\ntp28\ns\
      Vu\np29\nL1180591620717411303424L\ns.",
    b"}q\0(X\x01\0\0\0nq\x01NX\x01\0\0\0tq\x02(I01\nI00\nJ\xff\xff\xff\xffM,\x01Jp\x11\
      \x01\0L1099511627776L\nG?\xf8\0\0\0\0\0\0tq\x03X\x01\0\0\0sq\x04X\x07\0\0\0a\n\
      \xc3\xa4\xe2\x82\xacq\x05X\x01\0\0\0bq\x06c_codecs\nencode\nq\x07(X\x03\0\0\0\0\
      \xc3\xbfq\x08X\x06\0\0\0latin1q\x09tq\nRq\x0bX\x01\0\0\0lq\x0c]q\x0d(]q\x0e]q\
      \x0f(K\x01K\x02eeX\x01\0\0\0dq\x10}q\x11X\x03\0\0\0setq\x12c__builtin__\nset\nq\
      \x13(]q\x14K\x03atq\x15Rq\x16X\x03\0\0\0oneq\x17(K\x01tq\x18X\x03\0\0\0twoq\x19(\
      K\x01K\x02tq\x1aX\x05\0\0\0threeq\x1b(K\x01K\x02K\x03tq\x1cX\x01\0\0\0uq\x1dL118\
      0591620717411303424L\nu.",
    b"\x80\x02}q\0(X\x01\0\0\0nq\x01NX\x01\0\0\0tq\x02(\x88\x89J\xff\xff\xff\xffM,\x01\
      Jp\x11\x01\0\x8a\x06\0\0\0\0\0\x01G?\xf8\0\0\0\0\0\0tq\x03X\x01\0\0\0sq\x04X\x07\
      \0\0\0a\n\xc3\xa4\xe2\x82\xacq\x05X\x01\0\0\0bq\x06c_codecs\nencode\nq\x07X\x03\
      \0\0\0\0\xc3\xbfq\x08X\x06\0\0\0latin1q\x09\x86q\nRq\x0bX\x01\0\0\0lq\x0c]q\x0d(\
      ]q\x0e]q\x0f(K\x01K\x02eeX\x01\0\0\0dq\x10}q\x11X\x03\0\0\0setq\x12c__builtin__\
      \nset\nq\x13]q\x14K\x03a\x85q\x15Rq\x16X\x03\0\0\0oneq\x17K\x01\x85q\x18X\x03\0\
      \0\0twoq\x19K\x01K\x02\x86q\x1aX\x05\0\0\0threeq\x1bK\x01K\x02K\x03\x87q\x1cX\
      \x01\0\0\0uq\x1d\x8a\x09\0\0\0\0\0\0\0\0@u.",
    b"\x80\x04\x95\xa1\0\0\0\0\0\0\0}\x94(\x8c\x01n\x94N\x8c\x01t\x94(\x88\x89J\xff\
      \xff\xff\xffM,\x01Jp\x11\x01\0\x8a\x06\0\0\0\0\0\x01G?\xf8\0\0\0\0\0\0t\x94\x8c\
      \x01s\x94\x8c\x07a\n\xc3\xa4\xe2\x82\xac\x94\x8c\x01b\x94C\x02\0\xff\x94\x8c\x01\
      l\x94]\x94(]\x94]\x94(K\x01K\x02ee\x8c\x01d\x94}\x94\x8c\x03set\x94\x8f\x94(K\
      \x03\x90\x8c\x03one\x94K\x01\x85\x94\x8c\x03two\x94K\x01K\x02\x86\x94\x8c\x05thr\
      ee\x94K\x01K\x02K\x03\x87\x94\x8c\x01u\x94\x8a\x09\0\0\0\0\0\0\0\0@u.",
];

#[test]
fn every_protocol_gives_the_same_values() {
    let expected = "{'n': None, 't': [True, False, -1, 300, 70000, 1099511627776, 1.5], \
                    's': 'a\nä€', 'b': 2 bytes, 'l': [[], [1, 2]], 'd': {}, 'set': [3], \
                    'one': [1], 'two': [1, 2], 'three': [1, 2, 3], 'u': builtins.int(";
    for dump in DUMPS {
        let found = text(dump);
        assert!(found.starts_with(expected), "{found}");
    }
    let value = load(DUMPS[2]).unwrap();
    assert!(matches!(value.get("b"), Some(PyValue::Bytes(b)) if **b == [0, 255]));
    assert_eq!(value.keys().len(), 11);
}

#[test]
fn instructions_that_only_others_write_are_known() {
    for (bytes, expected) in [
        // Python 2: texts with quotes and escapes, texts of bytes, instances of old classes.
        (&b"S'it\\'s \\\\ \\x41\\n'\n."[..], "'it's \\ A\n'"),
        (b"S\"quoted\"\np0\n.", "'quoted'"),
        (b"U\x03abc.", "'abc'"),
        (b"T\x02\0\0\0\xc3\xa4.", "'ä'"),
        (b"U\x02\xff\xfe.", "2 bytes"),
        (b"(I1\nimodels\nNet\n.", "models.Net(1)"),
        (b"(cmodels\nNet\nI1\no.", "models.Net(1)"),
        (b"(dS'a'\nI1\ns.", "{'a': 1}"),
        (b"(lI1\naI2\na.", "[1, 2]"),
        // Lists, dictionaries and tuples by their marks; what is dropped again.
        (b"(K\x01K\x02l.", "[1, 2]"),
        (b"(K\x01K\x02d.", "{1: 2}"),
        (b"K\x01(K\x02K\x031.", "1"),
        (b"K\x01K\x020.", "1"),
        (b"K\x01(0.", "1"),
        (b"K\x012\x86.", "[1, 1]"),
        (b"Vx\np7\n0g7\n.", "'x'"),
        (b"Nr\0\0\0\x800j\0\0\0\x80.", "None"),
        (b"I-5\n.", "-5"),
        (b"\x8a\0.", "0"),
        (b"\x8b\x01\0\0\0\xff.", "-1"),
        (b"Fnan\n.", "NaN"),
        (b"V\\u00e4\\x41\\U0001f600\n.", "'ä\\x41😀'"),
        // The newest.
        (b"\x80\x05\x96\x02\0\0\0\0\0\0\0ab.", "2 bytes"),
        (b"\x8e\x01\0\0\0\0\0\0\0a.", "1 bytes"),
        (b"\x8d\x01\0\0\0\0\0\0\0a.", "'a'"),
        (b"B\x01\0\0\0a.", "1 bytes"),
        (b"(K\x01\x91.", "[1]"),
        (b"\x8c\x01m\x8c\x01C\x93)}\x92.", "m.C()"),
    ] {
        assert_eq!(text(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn known_classes_become_plain_values_and_others_stay_names() {
    for (bytes, expected) in [
        (&b"ccollections\nOrderedDict\n]](K\x01K\x02ea\x85R."[..], "{1: 2}"),
        (b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RK\x01K\x02s.", "{1: 2}"),
        (b"ctorch\nSize\n(K\x02K\x03t\x85R.", "[2, 3]"),
        (b"ctorch\nfloat32\n.", "torch.float32()"),
        (b"ctorch\ndevice\nVcuda\nK\x01\x86R.", "torch.device('cuda', 1)"),
        (b"c_codecs\nencode\nV\\u00ff\nVlatin1\n\x86R.", "1 bytes"),
        (b"cmodels\nList\n)\x81(K\x01K\x02e.", "models.List()"),
        (b"cbuiltins\ngetattr\ncm\nC\nVx\n\x86RK\x01\x85R.", "builtins.getattr(1)"),
    ] {
        assert_eq!(text(bytes), expected, "{}", bytes.escape_ascii());
    }
    // numpy.float64(0.125), numpy.int16(-2) of the other byte order, numpy.bool_(True).
    let scalar = |kind: &str, order: &str, bytes: &[u8]| {
        let mut out = b"cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n".to_vec();
        out.extend(format!("(V{kind}\nI0\nI1\ntR(K\x03V{order}\nNtbC").bytes());
        out.push(bytes.len() as u8);
        out.extend(bytes);
        out.extend(b"\x86R.");
        text(&out)
    };
    assert_eq!(scalar("f8", "<", &0.125f64.to_le_bytes()), "0.125");
    assert_eq!(scalar("i2", ">", &(-2i16).to_be_bytes()), "-2");
    assert_eq!(scalar("b1", "|", &[1]), "True");
    assert_eq!(scalar("u8", "<", &7u64.to_le_bytes()), "7");
    assert!(scalar("u8", "<", &u64::MAX.to_le_bytes()).starts_with("numpy.core.multiarray.scalar"));
    assert!(scalar("c16", "<", &[0; 16]).starts_with("numpy.core.multiarray.scalar"));
    assert!(scalar("f8", "<", &[0; 3]).starts_with("numpy.core.multiarray.scalar"));
    let object = load(b"cargparse\nNamespace\n)\x81}Vlr\nK\x05sb.").unwrap();
    assert_eq!(object.get("lr").and_then(PyValue::as_i64), Some(5));
    let list = load(b"cmodels\nList\n)\x81(K\x01K\x02e.").unwrap();
    assert_eq!(list.as_list().map(<[PyValue]>::len), Some(2));
}

#[test]
fn code_is_refused_by_its_name() {
    for (bytes, name) in [
        (&b"cposix\nsystem\nVtrue\n\x85R."[..], "posix.system"),
        (b"(Vtrue\nios\nsystem\n.", "os.system"),
        (b"c__builtin__\neval\nV1\n\x85R.", "builtins.eval"),
        (b"\x8c\x08builtins\x8c\x04exec\x93.", "builtins.exec"),
        (b"\x8c\x05torch\x8c\x09os.system\x93.", "torch.os.system"),
        (b"csubprocess\nPopen\n.", "subprocess.Popen"),
        (b"cnt\nsystem\n.", "nt.system"),
        (b"crunpy\nrun_path\n.", "runpy.run_path"),
        (b"cos.path\njoin\n.", "os.path.join"),
        (b"cctypes.util\nfind_library\n.", "ctypes.util.find_library"),
        // Also where nothing calls it, and the value is dropped.
        (b"cposix\nsystem\n0N.", "posix.system"),
    ] {
        let e = error(bytes);
        assert!(e.contains(&format!("a.pt: the file would run `{name}`")), "{e}");
    }
    // Somebody's own modules may be called like this.
    assert_eq!(text(b"ccode.models\nNet\n)\x81."), "code.models.Net()");
    assert_eq!(text(b"cmodels.os\nNet\n)\x81."), "models.os.Net()");
}

#[test]
fn damage_is_named_with_its_place() {
    for (bytes, reason) in [
        (&b""[..], "before byte 0: it has no end"),
        (b"N", "before byte 1: it has no end"),
        (b".", "nothing is on the stack"),
        (b"(.", "nothing is on the stack"),
        (b"N(0\x85.", ""),
        (b"NN(R.", "nothing is on the stack"),
        (b"t.", "a mark is missing"),
        (b"(K\x01d.", "a key without a value"),
        (b"NK\x01a.", "elements for what is no list"),
        (b"NK\x01K\x02s.", "entries for what is no dictionary"),
        (b"h\x05.", "recalls what it did not keep"),
        (b"NNR.", "calls what is no class"),
        (b"cm\nC\nNR.", "no tuple"),
        (b"NNb.", "attributes for what has none"),
        (b"(o.", "without a class"),
        (b"NN\x93.", "not text"),
        (b"Ix\n.", "`x` is no number"),
        (b"S'a\n.", "without quotes"),
        (b"S'\\xzz'\n.", "escape"),
        (b"V\\u12\n.", "escape"),
        (b"V\\ud800\n.", "escape"),
        (b"Vabc", "a line has no end"),
        (b"X\xff\xff\xff\xffabc.", "4294967295 bytes are announced"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "bytes are announced"),
        (b"\x8b\xff\xff\xff\x7f.", "bytes are announced"),
        (b"NQ.", "no tuple"),
        (b"Vother\n\x85Q.", "no storage"),
        (b"Vstorage\n\x85Q.", "without key or length"),
        (b"\xff.", "0xff is no instruction"),
    ] {
        if reason.is_empty() {
            // A mark that is dropped again is no damage.
            assert_eq!(text(bytes), "[None]");
            continue;
        }
        let e = error(bytes);
        assert!(e.contains("a.pt: its pickle is damaged before byte") && e.contains(reason), "{e}");
    }
}

#[test]
fn what_is_not_known_is_not_called_damage() {
    for (bytes, reason) in [
        (&b"\x80\x06N."[..], "protocol 6"),
        (b"\x82\x01.", "a class is named by a number"),
        (b"\x97.", "buffers lie outside"),
        (b"Px\n.", "storages are named in words"),
        (b"(Vstorage\nctorch\nNewStorage\nV0\nVcpu\nK\x06tQ.", "of the class `NewStorage`"),
    ] {
        let e = error(bytes);
        assert!(e.contains("a.pt: its pickle cannot be read: ") && e.contains(reason), "{e}");
        assert!(e.contains("torch.save(model.state_dict(), path)"), "{e}");
    }
}

#[test]
fn circles_end() {
    // a = []; a.append(a)
    assert_eq!(text(b"]q\0h\0a."), "[…]");
    let value = load(b"}q\0Vself\nh\0sVx\nK\x01s.").unwrap();
    assert_eq!(value.get("x").and_then(PyValue::as_i64), Some(1));
    assert!(matches!(value.get("self"), Some(PyValue::Cycle)));
}

#[test]
fn nesting_is_bounded() {
    let nested = |n: usize| [vec![b']'; n], vec![b'a'; n - 1], b".".to_vec()].concat();
    assert!(load(&nested(400)).is_ok());
    for deep in [600, 100_000] {
        let e = error(&nested(deep));
        assert!(e.contains("too deep"), "{e}");
    }
    let tuples = [b")".to_vec(), vec![0x85; 100_000], b".".to_vec()].concat();
    assert!(error(&tuples).contains("too deep"));
    // Each alone is shallow, but one is put at the end of the other: 300 lists in 300 lists.
    let mut twice = nested(300);
    twice.pop();
    twice.extend(b"q\x000");
    twice.extend(vec![b']'; 300]);
    twice.extend(b"h\0a");
    twice.extend(vec![b'a'; 299]);
    twice.extend(b"h\0\x86.");
    assert!(error(&twice).contains("too deep"));
    // A tensor that is made by what makes tensors that is made by … .
    let mut chain =
        b"ccopy_reg\n_reconstructor\nctorch._tensor\n_rebuild_from_type_v2\n\x85Rq\0".to_vec();
    chain.extend(b"N\x85");
    for _ in 0..50_000 {
        chain.extend(b"q\x01h\0Nh\x01\x87");
    }
    chain.extend(b"q\x01h\0h\x01R.");
    assert!(error(&chain).contains("too deep"));
}

#[test]
fn what_is_shared_is_held_once() {
    // Lists of ten times the one before: 10^60 elements, if they were written out.
    let mut laughs = b"]Vha\na".to_vec();
    for _ in 0..60 {
        laughs.extend(b"q\0](");
        laughs.extend(b"h\0".repeat(10));
        laughs.extend(b"e");
    }
    laughs.push(b'.');
    let value = load(&laughs).unwrap();
    assert!(value.to_string().len() < 10_000);
    assert!(format!("{value:?}").len() < 10_000);
    // Bytes, names of classes and lists, made of one long one again and again, are counted.
    let long = |before: &[u8], again: &[u8]| {
        let mut out = [before, b"q\0X\0\0\x10\0"].concat();
        out.extend(vec![b'x'; 1 << 20]);
        out.extend(b"q\x01");
        out.extend(again.repeat(1000));
        out.push(b'.');
        out
    };
    let mut list = [b"c__builtin__\nlist\nq\0](".to_vec(), b"N".repeat(1 << 20)].concat();
    list.extend(b"eq\x01");
    list.extend(b"h\0h\x01\x85R".repeat(1000));
    for many in [
        long(b"c_codecs\nencode\n", b"h\0h\x01\x85R"),
        long(b"Vm\n", b"h\0h\x01\x93"),
        [list, b".".to_vec()].concat(),
    ] {
        let e = error(&many);
        assert!(e.contains("more objects than"), "{e}");
    }
    // A million objects of a class with a long name.
    let class = long(b"Vm\n", b"");
    let mut many = [&class[..class.len() - 1], b"h\0h\x01\x93q\x02]("].concat();
    many.extend(b"h\x02)\x81".repeat(1 << 18));
    many.extend(b"e.");
    assert!(text(&many).len() < 10_000);
}

#[test]
fn more_objects_than_a_file_of_that_size_has_are_refused() {
    let many = [vec![b'N'; 6 << 20], b".".to_vec()].concat();
    assert!(error(&many).contains("more objects than"));
    let path = Path::new("a.pt");
    let mut heap = Heap::new(1 << 30);
    let value = pickle::load(&mut Input::whole(path, many), &mut heap).unwrap();
    assert_eq!(value, Value::None);
}
