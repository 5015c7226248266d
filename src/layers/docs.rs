//! The documentation of rejections by layers, outside of a policy's rules.

use crate::rules::RuleDocs;

/// The rejections before the policy is evaluated, in the order in which a request meets them.
pub(crate) static BEFORE_POLICY: [RuleDocs; 9] = [
    RuleDocs {
        id: "audit",
        protects: "Nobody registers without a record of it: while the audit sink can take no event, registrations wait.",
        reference: "RFC 7591 section 5 (abuse has to be seen to be met)",
        attack: "Fill the disk, then register what nobody will ever find.",
        loosen: "In code: a sink whose `is_ready` is true, such as `JsonLines` with `Overflow::Count`.",
        opens: "Registrations whose events are lost, and counted.",
        replayable: false,
    },
    RuleDocs {
        id: "rate-limit",
        protects: "The table of clients, and whoever has to look through it, from floods.",
        reference: "RFC 7591 section 5: rate-limit what \"an open registration endpoint\" takes; RFC 6585 section 4",
        attack: "Register ten thousand clients from one address, or from one IPv6 network.",
        loosen: "rate_limit.address = \"120/minute, burst 600\", which most other budgets follow, or \"off\"; rate_limit.global",
        opens: "As many clients as somebody has time for.",
        replayable: false,
    },
    RuleDocs {
        id: "initial-access-token",
        protects: "Registration from everybody who was not given a token.",
        reference: "RFC 7591 section 3.1, RFC 6750 section 3.1",
        attack: "Register without a token, with one that is over, or once more with one that admits one client.",
        loosen: "initial_access_tokens.required = false",
        opens: "Registration to anybody, by the rules for anonymous callers.",
        replayable: false,
    },
    RuleDocs {
        id: "origin",
        protects: "Registration from web pages of other origins, in the browser of somebody who may register.",
        reference: "RFC 6454; the Fetch standard, section 3.1",
        attack: "A page that registers a client from the browser of an employee, behind the firewall.",
        loosen: "initial_access_tokens.add_allowed_origins = [\"https://app.example.com\"]",
        opens: "Registration from pages of that origin.",
        replayable: false,
    },
    RuleDocs {
        id: "method",
        protects: "The handler from methods that the guard does not review.",
        reference: "RFC 7591 section 3.1, RFC 7592 section 2",
        attack: "PATCH /register, or PUT /register: a handler that takes it as POST registers without a token.",
        loosen: "Nothing does: put the layer on routes for registration only.",
        opens: "A way around every other rule.",
        replayable: false,
    },
    RuleDocs {
        id: "client-url",
        protects: "A client and its rules from a request whose URL the server reads as another client.",
        reference: "RFC 7592 section 2, RFC 3986 section 2.3",
        attack: "PUT /register/ID/ or /register/I%44 for a client that is revoked: unknown here, and the same to the server.",
        loosen: "client_url.in_query, client_url.trailing_slash, client_url.additional_characters, client_url.query_parameters: as the server spells them.",
        opens: "Nothing, if the server reads URLs like that.",
        replayable: false,
    },
    RuleDocs {
        id: "media-type",
        protects: "The handler from bodies that it reads and the guard does not.",
        reference: "RFC 7591 section 3.1 (application/json)",
        attack: "Send the registration as text/plain, or gzip-encoded: a guard that waves it through has reviewed nothing.",
        loosen: "Nothing does: decode bodies outside of the guard.",
        opens: "A way around every other rule.",
        replayable: false,
    },
    RuleDocs {
        id: "body",
        protects: "Memory and connections from bodies that are too large, too slow or broken off.",
        reference: "RFC 9110 sections 15.5.9 and 15.5.14",
        attack: "Send a gigabyte, or one byte a minute.",
        loosen: "body.max_bytes = 65536; body_deadline = \"30s\"",
        opens: "That much memory, and that much time, for each connection.",
        replayable: false,
    },
    RuleDocs {
        id: "strict-json",
        protects: "One reading of the body: what the rules see is what the handler sees.",
        reference: "RFC 8259 section 4 (duplicate names are unpredictable), RFC 7493",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"redirect_uris\":[\"https://evil.example.net/\"]}",
        loosen: "Only limits can be changed: body.max_depth, body.max_members, body.max_array, body.max_string",
        opens: "Larger documents. Duplicates and trailing bytes stay refused.",
        replayable: false,
    },
];

/// The rejections after the policy was evaluated.
pub(crate) static AFTER_POLICY: [RuleDocs; 2] = [
    RuleDocs {
        id: "lifecycle",
        protects: "What somebody has revoked from coming back by another registration, and the table from growing without end.",
        reference: "RFC 7592 section 5; RFC 7591 section 3.2.2",
        attack: "Register again what was revoked a minute ago: MCP clients do, by themselves.",
        loosen: "Take the block back (`dcr clients unblock`, `Registrar::unblock`, or the review page); lifecycle.max_clients = 100000",
        opens: "The client that was revoked.",
        replayable: false,
    },
    RuleDocs {
        id: "answer",
        protects: "Clients from answers on which they fail: a success without a client_id, or with redirect URIs that were \
                   not asked for; a secret for a public client; errors and redirects that are no JSON.",
        reference: "RFC 7591 sections 3.2.1 and 3.2.2",
        attack: "A handler that answers 200 with an error in it, or mints a secret for every client and then wants to see it.",
        loosen: "answer.secret = \"strip\", or { allow = [\"client_secret_basic\"] }; answer.errors = \"pass\"",
        opens: "Clients that the server takes for confidential and that send no secret; errors that clients can't read.",
        replayable: false,
    },
];
