//! Which subjects a limit decides on most.

use sinew::limit::{DAY, Limit, Per};

laws! {
    async fn the_busiest_subjects_are_those_of_the_tenant_however_they_are_answered(store: Store) {
        let (acme, other) = (store.process().await, store.process().await);
        let acme = acme.tenant("acme").unwrap().limiter();
        let other = other.tenant("other").unwrap().limiter();
        let calls = Limit::gcra("calls", 5.per(DAY));
        let leased = Limit::gcra("leased", 1_000_000.per(DAY)).lease(1_000);
        assert!(acme.busiest("calls", 10).is_empty());
        // Of the first, most are denied, and that in this process.
        for (user, count) in [(("ada", 7), 160), (("bob", 7), 40)] {
            for _ in 0..count {
                let _ = acme.check([calls.of(user)]).await.unwrap();
                let _ = acme.check([leased.of(user)]).await.unwrap();
            }
        }
        let _ = other.check([calls.of(("eve", 7))]).await.unwrap();

        for limit in ["calls", "leased"] {
            let busiest = acme.busiest(limit, 10);
            let names: Vec<&str> = busiest.iter().map(|busy| busy.subject.as_str()).collect();
            assert_eq!(names, ["ada:7", "bob:7"], "{limit}");
            // The first of each kind of answer are all samples.
            assert!((busiest[0].share - 0.8).abs() < 1e-9, "{limit}: {busiest:?}");
            assert!((busiest[1].share - 0.2).abs() < 1e-9, "{limit}: {busiest:?}");
            assert_eq!(acme.busiest(limit, 1).len(), 1);
        }
        assert_eq!(other.busiest("calls", 10)[0].subject, "eve:7");
        assert!(other.busiest("leased", 10).is_empty());
        assert!(acme.busiest("nothing", 10).is_empty() && acme.busiest("a:b", 10).is_empty());
    }
}
