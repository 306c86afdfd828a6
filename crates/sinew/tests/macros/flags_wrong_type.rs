struct Algo;

sinew::flags! {
    struct Features {
        algo: Algo = Algo,
    }
}

fn main() {}
