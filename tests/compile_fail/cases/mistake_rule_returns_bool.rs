use tower_dcr::rules::rule;

fn main() {
    let _ = tower_dcr::mcp().add_rule(rule("named", |draft| draft.registration().contains("client_name")));
}
