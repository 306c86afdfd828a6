use sinew::{Locks, locked};

#[locked(locks = locks, name = "job", skip_if_held = true)]
async fn job(locks: &Locks) -> sinew::Result<()> {
    let _ = locks;
    Ok(())
}

fn main() {}
