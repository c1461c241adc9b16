use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn machine(timeout: Duration) -> Machine {
    Machine::new(Lease::new(Duration::ZERO, timeout), Duration::ZERO, 0.0)
}

#[test]
fn a_short_body_costs_one_update_and_nothing_else() {
    let mut machine = machine(600 * SECOND);
    assert_eq!(machine.handle(Event::BodyEnded, SECOND), [Effect::SendUpdate]);
    assert_eq!(
        machine.handle(Event::UpdateAnswered(UpdateAnswer::Accepted), SECOND),
        [Effect::FreeSlot, Effect::Close(Closing::Delivered)]
    );
}

#[test]
fn the_update_waits_for_the_beat_in_flight_and_is_read_back() {
    let mut machine = machine(3 * SECOND);
    assert!(machine.handle(Event::Tick, SECOND).contains(&Effect::SendBeat));
    assert_eq!(machine.handle(Event::BodyEnded, SECOND), []);
    assert_eq!(machine.handle(Event::BeatAnswered(BeatAnswer::Accepted), SECOND), [Effect::SendUpdate]);
    assert_eq!(
        machine.handle(Event::UpdateAnswered(UpdateAnswer::Accepted), SECOND),
        [Effect::FreeSlot, Effect::ReadBack]
    );
    assert_eq!(machine.handle(Event::ReadBackAnswered(ReadBack::Undone), SECOND), [Effect::SendUpdate]);
    assert_eq!(machine.handle(Event::UpdateAnswered(UpdateAnswer::Accepted), SECOND), [Effect::ReadBack]);
    assert_eq!(
        machine.handle(Event::ReadBackAnswered(ReadBack::Settled), SECOND),
        [Effect::Close(Closing::Delivered)]
    );
}

#[test]
fn a_task_is_looked_at_before_an_update_that_may_come_too_late() {
    let accepted = Event::UpdateAnswered(UpdateAnswer::Accepted);
    let still_ours = Event::ReadBackAnswered(ReadBack::Undone);
    let mut tried = machine(600 * SECOND);
    assert_eq!(tried.handle(Event::BodyEnded, SECOND), [Effect::SendUpdate]);
    assert_eq!(tried.handle(Event::UpdateAnswered(UpdateAnswer::Retryable), SECOND), []);
    let again = tried.deadline().unwrap();
    assert!(again > SECOND && again < 2 * SECOND);
    assert_eq!(tried.handle(Event::Tick, again), [Effect::ReadBack]);
    assert_eq!(tried.handle(still_ours, again), [Effect::SendUpdate]);
    assert_eq!(tried.handle(accepted, again), [Effect::FreeSlot, Effect::ReadBack]);
    let settled = Event::ReadBackAnswered(ReadBack::Settled);
    assert_eq!(tried.handle(settled, again), [Effect::Close(Closing::Delivered)]);
    let mut late = machine(600 * SECOND);
    assert_eq!(late.handle(Event::BodyEnded, 601 * SECOND), [Effect::ReadBack]);
    for _ in 0..100 {
        assert_eq!(late.handle(Event::ReadBackAnswered(ReadBack::Unreachable), 700 * SECOND), []);
        let again = late.deadline().unwrap();
        assert_eq!(late.handle(Event::Tick, again), [Effect::ReadBack]);
    }
    let lost = Event::ReadBackAnswered(ReadBack::Ended(LostReason::ClaimedAgain));
    assert_eq!(
        late.handle(lost, 800 * SECOND),
        [Effect::FreeSlot, Effect::Close(Closing::Superseded(LostReason::ClaimedAgain))]
    );
}

#[test]
fn an_accepted_update_that_was_never_seen_is_left_to_the_next_start() {
    let mut machine = machine(3 * SECOND);
    machine.handle(Event::BodyEnded, SECOND);
    assert_eq!(
        machine.handle(Event::UpdateAnswered(UpdateAnswer::Accepted), 4 * SECOND),
        [Effect::FreeSlot, Effect::ReadBack]
    );
    assert_eq!(machine.handle(Event::Abandon, 4 * SECOND), [Effect::Close(Closing::Waiting)]);
}

#[test]
fn a_beat_of_unknown_fate_is_watched_for_longer() {
    let mut machine = machine(3 * SECOND);
    machine.handle(Event::Tick, SECOND);
    machine.handle(Event::BodyEnded, SECOND);
    machine.handle(Event::BeatAnswered(BeatAnswer::Unknown), SECOND);
    machine.handle(Event::UpdateAnswered(UpdateAnswer::Accepted), SECOND);
    let mut now = SECOND;
    for delay in LATE_BEAT_READ_BACKS {
        assert_eq!(machine.handle(Event::ReadBackAnswered(ReadBack::Settled), now), []);
        now += delay;
        assert_eq!(machine.deadline(), Some(now));
        assert_eq!(machine.handle(Event::Tick, now), [Effect::ReadBack]);
    }
    assert_eq!(
        machine.handle(Event::ReadBackAnswered(ReadBack::Settled), now),
        [Effect::Close(Closing::Delivered)]
    );
}

#[test]
fn a_lost_task_stops_its_body_and_reports_nothing() {
    let mut machine = machine(30 * SECOND);
    assert_eq!(machine.handle(Event::Tick, 10 * SECOND), [Effect::SendBeat, Effect::ReadStatus]);
    let lost = Ownership::Lost(LostReason::Terminal);
    assert_eq!(
        machine.handle(Event::StatusAnswered(lost), 10 * SECOND),
        [Effect::StopBody(LostReason::Terminal)]
    );
    assert_eq!(
        machine.handle(Event::BodyEnded, 11 * SECOND),
        [Effect::FreeSlot, Effect::Close(Closing::Lost(LostReason::Terminal))]
    );
}

#[test]
fn an_unreachable_server_stops_nothing() {
    let mut machine = machine(30 * SECOND);
    let mut now = 10 * SECOND;
    machine.handle(Event::Tick, now);
    for _ in 0..50 {
        machine.handle(Event::BeatAnswered(BeatAnswer::Unknown), now);
        let effects = machine.handle(Event::StatusAnswered(Ownership::Unreachable), now);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::StopBody(_) | Effect::Close(_))));
        now = machine.deadline().unwrap().max(now);
        machine.handle(Event::Tick, now);
    }
    assert!(machine.is_lapsed(now));
}

#[test]
fn a_fence_extends_a_short_lease_and_then_asks_whose_task_it_is() {
    let mut machine = machine(30 * SECOND);
    assert_eq!(machine.handle(Event::FenceAsked(5 * SECOND), SECOND), [Effect::ReadStatus]);
    assert_eq!(machine.handle(Event::StatusAnswered(Ownership::Ours), SECOND), [Effect::LiftFence]);
    assert_eq!(machine.handle(Event::FenceAsked(25 * SECOND), 9 * SECOND), [Effect::ReadStatus]);
    // The periodic beat has failed since, so that less than a fresh lease is left.
    let mut machine = self::machine(30 * SECOND);
    assert_eq!(machine.handle(Event::Tick, 10 * SECOND), [Effect::SendBeat, Effect::ReadStatus]);
    machine.handle(Event::StatusAnswered(Ownership::Ours), 10 * SECOND);
    assert_eq!(machine.handle(Event::FenceAsked(40 * SECOND), 11 * SECOND), []);
    assert_eq!(machine.handle(Event::BeatAnswered(BeatAnswer::Refused), 11 * SECOND), []);
    let again = machine.deadline().unwrap();
    assert!(again > 11 * SECOND && again < 12 * SECOND);
    assert_eq!(machine.handle(Event::Tick, again), [Effect::SendBeat]);
    assert_eq!(machine.handle(Event::BeatAnswered(BeatAnswer::Accepted), again), [Effect::ReadStatus]);
    let lost = Ownership::Lost(LostReason::ClaimedAgain);
    assert_eq!(
        machine.handle(Event::StatusAnswered(lost), again),
        [Effect::StopBody(LostReason::ClaimedAgain)]
    );
}

#[test]
fn a_fence_waits_for_a_server_that_cannot_be_reached() {
    let mut machine = machine(600 * SECOND);
    machine.handle(Event::FenceAsked(5 * SECOND), SECOND);
    let mut now = SECOND;
    for _ in 0..20 {
        assert_eq!(machine.handle(Event::StatusAnswered(Ownership::Unreachable), now), []);
        let again = machine.deadline().unwrap();
        assert!(again > now && again <= now + 10 * SECOND);
        now = again;
        assert_eq!(machine.handle(Event::Tick, now), [Effect::ReadStatus]);
    }
    assert_eq!(machine.handle(Event::StatusAnswered(Ownership::Ours), now), [Effect::LiftFence]);
}

#[test]
fn a_read_that_was_sent_before_the_fence_does_not_lift_it() {
    let mut machine = machine(30 * SECOND);
    machine.handle(Event::Tick, 10 * SECOND);
    machine.handle(Event::BeatAnswered(BeatAnswer::Accepted), 10 * SECOND);
    assert_eq!(machine.handle(Event::FenceAsked(SECOND), 10 * SECOND), []);
    assert_eq!(machine.handle(Event::StatusAnswered(Ownership::Ours), 10 * SECOND), [Effect::ReadStatus]);
    assert_eq!(machine.handle(Event::StatusAnswered(Ownership::Ours), 10 * SECOND), [Effect::LiftFence]);
}

fn any_event() -> impl Strategy<Value = Event> {
    let lost =
        prop_oneof![Just(LostReason::Unknown), Just(LostReason::Terminal), Just(LostReason::ClaimedAgain)];
    prop_oneof![
        2 => Just(Event::BodyEnded),
        4 => prop_oneof![Just(BeatAnswer::Accepted), Just(BeatAnswer::Refused), Just(BeatAnswer::Unknown)]
            .prop_map(Event::BeatAnswered),
        3 => Just(Event::StatusAnswered(Ownership::Ours)),
        1 => Just(Event::StatusAnswered(Ownership::Unreachable)),
        1 => lost.prop_map(|reason| Event::StatusAnswered(Ownership::Lost(reason))),
        4 => prop_oneof![Just(UpdateAnswer::Accepted), Just(UpdateAnswer::Retryable), Just(UpdateAnswer::Permanent)]
            .prop_map(Event::UpdateAnswered),
        4 => prop_oneof![
            Just(ReadBack::Settled), Just(ReadBack::Undone), Just(ReadBack::Ended(LostReason::ClaimedAgain)),
            Just(ReadBack::Ended(LostReason::Terminal)), Just(ReadBack::Unreachable)
        ].prop_map(Event::ReadBackAnswered),
        2 => (0_u64..100).prop_map(|seconds| Event::FenceAsked(Duration::from_secs(seconds))),
        1 => Just(Event::Abandon),
        6 => Just(Event::Tick),
    ]
}

proptest! {
    /// Whatever order the world chooses: one close, one freed slot, no beat beside or after the update, nothing
    /// reported for a lost task.
    #[test]
    fn no_order_of_events_breaks_the_rules(
        events in proptest::collection::vec((any_event(), 0_u64..20_000), 0..200),
        timeout_seconds in 0_u64..100,
        jitter in 0.0_f64..1.0,
    ) {
        let lease = Lease::new(Duration::ZERO, Duration::from_secs(timeout_seconds));
        let mut machine = Machine::new(lease, Duration::ZERO, jitter);
        let mut now = Duration::ZERO;
        let (mut beat, mut updates, mut closes, mut freed, mut stopped) = (false, 0, 0, 0, 0);
        for (event, milliseconds) in events {
            now += Duration::from_millis(milliseconds);
            if matches!(event, Event::BeatAnswered(_)) {
                beat = false;
            }
            let asked = machine.fence.is_some_and(|fence| fence.is_read);
            for effect in machine.handle(event, now) {
                prop_assert_eq!(closes, 0, "an effect after the close: {:?}", effect);
                match effect {
                    Effect::SendBeat => {
                        prop_assert!(!beat && updates == 0 && stopped == 0);
                        beat = true;
                    }
                    Effect::SendUpdate => {
                        prop_assert!(!beat && stopped == 0);
                        updates += 1;
                    }
                    Effect::LiftFence => {
                        prop_assert!(asked && event == Event::StatusAnswered(Ownership::Ours));
                        prop_assert!(updates == 0 && stopped == 0);
                    }
                    Effect::StopBody(_) => stopped += 1,
                    Effect::FreeSlot => freed += 1,
                    Effect::Close(_) => closes += 1,
                    Effect::Release => prop_assert_eq!(updates, 0),
                    Effect::ReadStatus | Effect::ReadBack => {}
                }
            }
            prop_assert!(stopped <= 1 && freed <= 1 && closes <= 1);
            prop_assert_eq!(machine.is_closed(), closes == 1);
            prop_assert!(closes == 0 || freed == 1);
        }
    }

    /// A world that answers well closes every attempt, without a busy loop.
    #[test]
    fn every_attempt_ends(timeout_seconds in 1_u64..1000, body_seconds in 0_u64..5000) {
        let mut machine = Machine::new(Lease::new(Duration::ZERO, Duration::from_secs(timeout_seconds)), Duration::ZERO, 0.5);
        let mut now = Duration::ZERO;
        let mut steps = 0;
        let mut queue = vec![];
        while !machine.is_closed() {
            steps += 1;
            prop_assert!(steps < 100_000);
            let event = queue.pop().unwrap_or_else(|| {
                if now >= Duration::from_secs(body_seconds) { return Event::BodyEnded; }
                now = machine.deadline().map_or(Duration::from_secs(body_seconds), |due| due.min(Duration::from_secs(body_seconds))).max(now);
                Event::Tick
            });
            for effect in machine.handle(event, now) {
                match effect {
                    Effect::SendBeat => queue.push(Event::BeatAnswered(BeatAnswer::Accepted)),
                    Effect::ReadStatus => queue.push(Event::StatusAnswered(Ownership::Ours)),
                    Effect::SendUpdate => queue.push(Event::UpdateAnswered(UpdateAnswer::Accepted)),
                    Effect::ReadBack => queue.push(Event::ReadBackAnswered(ReadBack::Settled)),
                    _ => {}
                }
            }
        }
    }
}
