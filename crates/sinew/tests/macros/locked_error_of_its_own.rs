use sinew::{Locks, locked};

struct Failure;

#[locked(locks = locks, name = "job")]
async fn job(locks: &Locks) -> Result<(), Failure> {
    Ok(())
}

fn main() {}
