use tower_dcr::policy::Submission;

fn main() {
    let _ = tower_dcr::mcp().add_rule(|submission: &mut Submission<'_>| submission.registration().contains("client_name"));
}
