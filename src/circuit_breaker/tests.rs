use std::time::Duration;

use super::circuit::{Circuit, FAILURES, LONGEST_PAUSE, PAUSE};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a circuit that opened at zero.
fn open() -> Circuit {
    let circuit = Circuit::default();
    let pauses: Vec<_> =
        (0..FAILURES).map(|_| circuit.permit(Duration::ZERO).unwrap().failed(Duration::ZERO)).collect();
    assert!(pauses.iter().rev().skip(1).all(Option::is_none) && pauses.last().unwrap().is_some());
    circuit
}

#[test]
fn it_opens_after_failures_in_a_row() {
    let circuit = Circuit::default();
    for _ in 0..10 {
        for _ in 1..FAILURES {
            assert_eq!(circuit.permit(SECOND).unwrap().failed(SECOND), None);
        }
        assert!(!circuit.permit(SECOND).unwrap().succeeded());
    }
    let wait = open().permit(Duration::ZERO).unwrap_err();
    assert!(wait >= PAUSE && wait < PAUSE * 2, "{wait:?}");
}

#[test]
fn one_probe_is_permitted_when_the_pause_is_over() {
    let circuit = open();
    assert!(circuit.permit(PAUSE / 2).is_err());
    let probe = circuit.permit(SECOND).unwrap();
    assert!(circuit.permit(SECOND * 100).is_err());
    // A dropped probe reports nothing, and the next call is the probe.
    drop(probe);
    let probe = circuit.permit(SECOND).unwrap();
    assert!(probe.succeeded());
    let two = (circuit.permit(SECOND).unwrap(), circuit.permit(SECOND).unwrap());
    assert!(!two.0.succeeded() && two.1.failed(SECOND).is_none());
}

#[test]
fn each_pause_is_twice_as_long_up_to_a_limit() {
    let circuit = open();
    let mut now = Duration::ZERO;
    let pauses: Vec<Duration> = (0..12)
        .map(|_| {
            now += LONGEST_PAUSE * 2;
            circuit.permit(now).unwrap().failed(now).unwrap()
        })
        .collect();
    for (index, pause) in pauses.iter().enumerate() {
        let length = (PAUSE * 2_u32.pow(u32::try_from(index).unwrap() + 1)).min(LONGEST_PAUSE);
        assert!(*pause >= length * 3 / 4 && *pause <= length * 5 / 4, "{index}: {pause:?} for {length:?}");
    }
    // All of them equal is one in a thousand to the eighth power.
    assert!(pauses.iter().skip(5).any(|pause| *pause != pauses[4]));
    assert!(circuit.permit(now * 2).unwrap().succeeded());
    assert_eq!((0..FAILURES).filter_map(|_| circuit.permit(now).unwrap().failed(now)).count(), 1);
}

#[test]
fn a_result_from_before_the_circuit_opened_is_ignored() {
    let circuit = Circuit::default();
    let (late_success, late_failure) = (circuit.permit(SECOND).unwrap(), circuit.permit(SECOND).unwrap());
    (0..FAILURES).for_each(|_| _ = circuit.permit(SECOND).unwrap().failed(SECOND));
    assert!(!late_success.succeeded() && late_failure.failed(SECOND).is_none());
    assert!(circuit.permit(SECOND).is_err());
}
