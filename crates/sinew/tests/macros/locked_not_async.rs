use sinew::{Locks, locked};

#[locked(locks = locks, name = "job")]
fn job(locks: &Locks) -> sinew::Result<()> {
    let _ = locks;
    Ok(())
}

fn main() {}
