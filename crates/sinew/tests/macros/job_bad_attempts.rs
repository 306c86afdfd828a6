use sinew::job::Job;

#[derive(Job)]
#[job(name = "send", attempts = 0)]
struct Send;

fn main() {}
