//! The stream table against its model (`peer/model.rs`), under operations that are shrunk to the few that matter.

mod peer;

use peer::model::{Operation, run};
use proptest::prelude::*;

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let id = || (0u32..7).prop_map(|id| 2 * id + 1);
    let one = prop_oneof![
        6 => (id(), any::<bool>()).prop_map(|(id, end)| Operation::Headers { id, end }),
        4 => (id(), 0usize..50, any::<bool>()).prop_map(|(id, length, end)| Operation::Data { id, length, end }),
        1 => id().prop_map(Operation::Rst),
        2 => (id(), prop_oneof![5 => 1u32..40_000, 1 => Just(0), 1 => Just(0x7fff_ffff)])
            .prop_map(|(id, by)| Operation::Widen { id, by }),
        1 => (1u32..40_000).prop_map(|by| Operation::Widen { id: 0, by }),
        1 => (0u32..70_000).prop_map(Operation::InitialWindow),
        3 => (id(), 0usize..60_000).prop_map(|(id, bytes)| Operation::Respond { id, bytes }),
        3 => (1usize..30_000).prop_map(Operation::Drain),
        1 => id().prop_map(Operation::Reset),
        3 => id().prop_map(Operation::Done),
    ];
    proptest::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_machine_does_what_the_model_does(operations in operations()) {
        run(operations, |_| {});
    }
}
