use sinew::{Locks, locked};

#[locked(locks = locks, name = "job", timeout = "10s")]
async fn job(locks: &Locks) -> sinew::Result<()> {
    let _ = locks;
    Ok(())
}

fn main() {}
