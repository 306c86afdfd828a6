use sinew::job::Job;

#[derive(Job)]
struct Send;

fn main() {}
