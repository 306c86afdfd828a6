use sinew::{Locks, locked};

#[locked(locks = locks)]
async fn job(locks: &Locks) -> sinew::Result<()> {
    let _ = locks;
    Ok(())
}

fn main() {}
