use tower_dcr::layers::InitialAccessTokenLayer;

fn main() {
    let _ = InitialAccessTokenLayer::new(["Vq3s8nR1xW7tB0yKd5Lc"]);
}
