//! What is known of IMA logs moves with the verdict that rests on it, and with
//! no other.

use super::*;

async fn known(f: &Fixture) -> Option<String> {
    f.store.ima_state(&id(1)).await.unwrap()
}

#[tokio::test]
async fn it_moves_with_an_affirming_verdict() {
    let f = Fixture::new(10).await;
    assert_eq!(known(&f).await, None);
    let mut enrolment = enrolled(1);
    enrolment.ima = Some("one".to_owned());
    let _ = f.store.record_enrolment(enrolment, NOW).await.unwrap();
    assert_eq!(known(&f).await.as_deref(), Some("one"));
    let mut affirmation = affirmed(1, 20);
    affirmation.ima = Some("two".to_owned());
    let _ = f.store.record_affirmation(affirmation, NOW).await.unwrap();
    assert_eq!(known(&f).await.as_deref(), Some("two"));
    // One without a log: there is nothing to go on from.
    let mut without = affirmed(1, 21);
    without.clock.clock += 1;
    let _ = f.store.record_affirmation(without, NOW).await.unwrap();
    assert_eq!(known(&f).await, None);
}

#[tokio::test]
async fn it_does_not_move_where_nothing_is_recorded() {
    let f = Fixture::new(10).await;
    let mut enrolment = enrolled(1);
    enrolment.ima = Some("one".to_owned());
    let _ = f.store.record_enrolment(enrolment, NOW).await.unwrap();
    // A clock that fell; a challenge that was spent; the same request again.
    let mut late = affirmed(1, 22);
    late.ima = Some("two".to_owned());
    late.clock = clock(1, 1);
    assert!(f.store.record_affirmation(late, NOW).await.is_err());
    assert_eq!(known(&f).await.as_deref(), Some("one"));
    let mut again = enrolled(1);
    again.ima = Some("two".to_owned());
    assert!(matches!(
        f.store.record_enrolment(again, NOW).await,
        Ok(Recorded::Before(_))
    ));
    assert_eq!(known(&f).await.as_deref(), Some("one"));
    // A verdict against the gateway.
    let against = contraindicated(1, 23);
    let _ = f.store.record_contraindication(against, NOW).await.unwrap();
    assert_eq!(known(&f).await.as_deref(), Some("one"));
}
