//! Cases measured side by side in one run.
//!
//! A shared machine drifts by tens of percents between runs, and within one. So the cases of a comparison take turns in
//! short batches, and what counts is the ratio of one to the other in the same round, by its median over all rounds.
//! Allocations are counted, which is exact.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One thing to measure.
pub(crate) struct Case<'a> {
    name: String,
    run: Box<dyn FnMut() + 'a>,
}

impl<'a> Case<'a> {
    pub(crate) fn new<T>(name: impl Into<String>, mut run: impl FnMut() -> T + 'a) -> Self {
        Self { name: name.into(), run: Box::new(move || drop(black_box(run()))) }
    }
}

/// The measurements of a case.
pub(crate) struct Figure {
    pub(crate) nanos: f64,
    /// To the first case.
    pub(crate) ratio: f64,
    pub(crate) allocations: u64,
}

const ROUNDS: usize = 101;
const BATCH: Duration = Duration::from_millis(2);

/// Measures the cases in turns and prints a table; the first case is the base of the ratios.
pub(crate) fn compare(title: &str, mut cases: Vec<Case<'_>>) -> Vec<Figure> {
    let batches: Vec<u32> = cases.iter_mut().map(calibrate).collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for _ in 0..ROUNDS {
        for ((case, batch), times) in cases.iter_mut().zip(&batches).zip(&mut times) {
            times.push(time(case, *batch));
        }
    }
    println!("\n## {title}\n\n| case | ns | ratio | allocations |\n| --- | ---: | ---: | ---: |");
    let base = times.first().cloned().unwrap_or_default();
    let figures = cases.iter_mut().zip(times).map(|(case, times)| {
        let ratios = times.iter().zip(&base).map(|(time, base)| time / base).collect();
        let figure = Figure { nanos: median(times), ratio: median(ratios), allocations: allocations(case) };
        println!("| {} | {:.0} | {:.2} | {} |", case.name, figure.nanos, figure.ratio, figure.allocations);
        figure
    });
    figures.collect()
}

/// Prints a figure of the table in README.md.
pub(crate) fn figure(what: &str, figure: f64) {
    println!("figure: {what}: {figure:.2}");
}

fn calibrate(case: &mut Case<'_>) -> u32 {
    (0..200).for_each(|_| (case.run)());
    let mut batch = 1;
    while time(case, batch) * f64::from(batch) < nanos(BATCH) && batch < 1 << 20 {
        batch *= 2;
    }
    batch
}

/// Nanoseconds a call.
#[expect(clippy::disallowed_methods, reason = "this is what measures")]
fn time(case: &mut Case<'_>, batch: u32) -> f64 {
    let start = Instant::now();
    (0..batch).for_each(|_| (case.run)());
    nanos(start.elapsed()) / f64::from(batch)
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

#[cfg(feature = "count-allocations")]
fn allocations(case: &mut Case<'_>) -> u64 {
    allocation_counter::measure(|| (case.run)()).count_total
}

#[cfg(not(feature = "count-allocations"))]
fn allocations(case: &mut Case<'_>) -> u64 {
    (case.run)();
    0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
