use sinew::{Locks, locked};

#[locked(locks = locks, name = "job", ttl = "half an hour")]
async fn job(locks: &Locks) -> sinew::Result<()> {
    let _ = locks;
    Ok(())
}

fn main() {}
