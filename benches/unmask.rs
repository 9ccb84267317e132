//! Unmasking against memcpy and the obvious byte loop: 16 B, 125 B, 1 KiB, 16 KiB.
//!
//! One iteration does all eight alignments, so a figure is the mean over them and the throughput
//! counts eight payloads. `RINGWIRE_BENCH_ALIGNMENTS=each` reports each alignment by itself.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringwire_protocol::ws::mask;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const SIZES: [usize; 4] = [16, 125, 1024, 16 * 1024];
const ALIGNMENTS: usize = 8;

/// A buffer whose first byte is at an address divisible by 64, so that an offset is an alignment.
#[repr(align(64))]
struct Aligned([u8; 16 * 1024 + 64]);

fn aligned() -> Box<Aligned> {
    Box::new(Aligned([0x5A; 16 * 1024 + 64]))
}

/// The oracle of the unit tests.
fn byte_by_byte(payload: &mut [u8], key: [u8; 4]) {
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[index % 4];
    }
}

type Work = fn(&mut [u8], &mut [u8]);

/// What is compared; the second slice is where memcpy copies to.
const WORKS: [(&str, Work); 3] = [
    ("ringwire", |payload, _| mask(payload, black_box(KEY), 0)),
    ("byte loop", |payload, _| byte_by_byte(payload, black_box(KEY))),
    ("memcpy", |payload, copy| copy.copy_from_slice(payload)),
];

fn unmask(criterion: &mut Criterion) {
    let apart = std::env::var("RINGWIRE_BENCH_ALIGNMENTS").is_ok_and(|value| value == "each");
    let (mut payload, mut copy) = (aligned(), aligned());
    for size in SIZES {
        let mut group = criterion.benchmark_group(format!("unmask {size} B"));
        for (name, work) in WORKS {
            let mut run = |alignments: std::ops::Range<usize>| {
                for alignment in alignments {
                    let range = alignment..alignment + size;
                    let payload = black_box(&mut payload.0[range.clone()]);
                    work(payload, black_box(&mut copy.0[range]));
                }
            };
            if apart {
                group.throughput(Throughput::Bytes(size as u64));
                for alignment in 0..ALIGNMENTS {
                    group.bench_function(BenchmarkId::new(name, alignment), |bencher| {
                        bencher.iter(|| run(alignment..alignment + 1));
                    });
                }
            } else {
                group.throughput(Throughput::Bytes((size * ALIGNMENTS) as u64));
                group.bench_function(name, |bencher| bencher.iter(|| run(0..ALIGNMENTS)));
            }
        }
        group.finish();
    }
}

criterion_group!(benches, unmask);
criterion_main!(benches);
