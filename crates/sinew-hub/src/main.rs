//! The binary `sinew`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    sinew_hub::cli::run().await
}
