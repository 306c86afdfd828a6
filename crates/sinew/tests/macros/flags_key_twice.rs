sinew::flags! {
    struct Features {
        new_ui: bool = false,
        #[key("new-ui")]
        newer_ui: bool = false,
    }
}

fn main() {}
