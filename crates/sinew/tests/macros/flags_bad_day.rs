sinew::flags! {
    struct Features {
        #[expires("2027-02-29")]
        new_ui: bool = false,
    }
}

fn main() {}
