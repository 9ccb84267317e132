//! What is written is read again, and whatever else is read is one line and no panic.

use super::*;
use crate::cli::plan::tests::scenario;
use crate::samples;
use crate::whole;
use ringwire_ring::sim::{Random, each_seed};

fn sample() -> Document {
    let runs = vec![crate::summary::run(&scenario(), &samples::outcome())];
    Document { runs, ..samples::document() }
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn histograms_survive_being_text() {
    for count in [0, 1, 20, 16_000] {
        let histogram = samples::histogram(count);
        let read = decode_histogram(&encode_histogram(&histogram)).unwrap();
        assert_eq!(read, histogram, "{count}");
    }
    // Every bucket in use: as long as a text can be.
    for (count, is_believed) in [(1 << 30, true), (1 << 40, false)] {
        let mut widest = recorder::empty_histogram();
        let mut value = 1;
        while value < recorder::VALUE_NS_MAX {
            widest.record_n(value, count + value % 1_000).unwrap();
            value += 1 + value / 2_048;
        }
        let text = encode_histogram(&widest);
        assert!(text.len() < HISTOGRAM_TEXT_BYTES_MAX, "{}", text.len());
        assert_eq!(decode_histogram(&text).is_ok(), is_believed);
    }
}

#[test]
fn a_bundle_is_read_as_it_was_written_and_its_json_has_no_histograms() {
    let folder = folder("bundle");
    let (bundle, plain) = (folder.join("run.bundle"), folder.join("run.json"));
    whole::write(&bundle, &gzip(&sample()).unwrap()).unwrap();
    assert_eq!(read(&bundle).unwrap(), sample());
    whole::write(&plain, &json(&sample()).unwrap()).unwrap();
    let read_plain = read(&plain).unwrap();
    assert_eq!((&read_plain.runs[0].histograms, read_plain.runs.len()), (&None, 1));
    assert!(read_plain.runs[0].intervals.iter().all(|interval| interval.histogram.is_none()));
    assert_eq!(json(&read_plain).unwrap(), json(&sample()).unwrap());
    let value: serde_json::Value = serde_json::to_value(sample()).unwrap();
    assert_eq!(crate::validator::offences(&value), Vec::<String>::new());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_not_a_result_is_one_line() {
    let other = String::from_utf8(json(&sample()).unwrap()).unwrap();
    let other = other.replace("ringwire.result/1", "ringwire.result/2");
    let whole = gzip(&sample()).unwrap();
    let table: [(&[u8], &str); 7] = [
        (b"", "neither a result"),
        (b"{}", "missing field `schema`"),
        (b"[1]", "neither a result"),
        (br#"{"schema":"ringwire.result/1"}"#, "not a whole result"),
        (other.as_bytes(), "this loadgen reads \"ringwire.result/1\""),
        (&whole[..whole.len() / 2], "cannot be read"),
        (&GZIP_MAGIC, "cannot be read"),
    ];
    for (bytes, expected) in table {
        let line = parse(bytes).unwrap_err();
        assert!(line.contains(expected) && !line.contains('\n'), "{line}");
    }
    let failure = read(Path::new("/nowhere/run.json")).unwrap_err();
    assert_eq!(failure.code, 104);
    assert!(failure.line.starts_with("/nowhere/run.json: "), "{}", failure.line);
}

#[test]
fn a_gzip_bomb_is_refused_before_it_fills_memory() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&vec![b' '; (2 << 20) + 1]).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 16);
    assert_eq!(parse_within(&bomb, 2 << 20).unwrap_err(), "more than 2 MiB: not of loadgen");
    assert!(parse_within(&bomb, (2 << 20) + 1).unwrap_err().contains("neither a result"));
}

#[test]
fn every_damage_to_a_histogram_is_an_error_or_another_histogram() {
    let text = encode_histogram(&samples::histogram(200));
    for length in 0..text.len() {
        assert!(decode_histogram(&text[..length]).is_err(), "{length}");
    }
    assert!(decode_histogram(&format!("{text}!")).is_err());
    assert!(decode_histogram(&"A".repeat(HISTOGRAM_TEXT_BYTES_MAX + 4)).is_err());
    // Below the deflation nothing guards the bytes: whatever they are, reading them ends.
    let deflated = STANDARD.decode(&text).unwrap();
    let mut plain = Vec::new();
    ZlibDecoder::new(&deflated[8..]).read_to_end(&mut plain).unwrap();
    assert!(counts(&plain).is_ok());
    for index in 0..plain.len() {
        for flip in [0x01, 0x40, 0x80, 0xff] {
            let mut damaged = plain.clone();
            damaged[index] ^= flip;
            let read = counts(&damaged);
            assert!(index >= HEAD_BYTES || (24..32).contains(&index) || read.is_err(), "{index}");
            if let Ok(counts) = read {
                let _ = recorder::histogram_of(&counts);
            }
        }
    }
    let longest = [&plain[..4], &10_u32.to_be_bytes(), &plain[8..HEAD_BYTES], &[0xff; 10]].concat();
    assert!(counts(&longest).is_err());
}

#[test]
fn a_bomb_in_a_histogram_is_refused() {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&vec![0; 2 << 20]).unwrap();
    let deflated = encoder.finish().unwrap();
    let length = u32::try_from(deflated.len()).unwrap();
    let bytes = [&COOKIE_DEFLATED.to_be_bytes()[..], &length.to_be_bytes(), &deflated].concat();
    assert_eq!(
        decode_histogram(&STANDARD.encode(bytes)).unwrap_err(),
        "a histogram: more than 1 MiB: not of loadgen"
    );
}

#[test]
fn results_of_earlier_commits_are_still_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().join("result.json");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains(SCHEMA) {
            read(&path).unwrap();
            found += 1;
        }
    }
    assert!(found > 0);
}

#[test]
fn histograms_in_parts_sent_as_text_and_added_have_the_percentiles_of_the_sorted_samples() {
    each_seed(20, |seed| {
        let mut random = Random::new(seed);
        let parts = 1 + random.index(5);
        let count = 1 + random.index(20_000);
        let mut recorders = vec![recorder::Recorder::new(); parts];
        let mut sorted = Vec::new();
        for _ in 0..count {
            let value = (random.word() >> (22 + random.below(41))).max(1);
            recorders[random.index(parts)].record(value);
            sorted.push(value);
        }
        sorted.sort_unstable();
        let mut whole = recorder::empty_histogram();
        for recorder in &recorders {
            let text = encode_histogram(&recorder.histogram());
            whole.add(decode_histogram(&text).unwrap()).unwrap();
        }
        assert_eq!(whole.len(), count as u64);
        for per_mille in [500, 900, 990, 999, 1_000] {
            let exact = sorted[(count * per_mille).div_ceil(1_000) - 1];
            let told = whole.value_at_quantile(per_mille as f64 / 1_000.0);
            let bucket = whole.lowest_equivalent(told);
            assert_eq!(bucket, whole.lowest_equivalent(exact), "p{per_mille} of {count}");
        }
    });
}
