use sinew::job::Job;

#[derive(Job)]
#[job(name = "send", backoff = "exp(1s)")]
struct Send;

fn main() {}
