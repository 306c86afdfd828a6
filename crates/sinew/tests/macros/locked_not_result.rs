use sinew::{Locks, locked};

#[locked(locks = locks, name = "job")]
async fn job(locks: &Locks) -> bool {
    let _ = locks;
    true
}

fn main() {}
