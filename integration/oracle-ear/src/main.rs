//! stdin: {"jwk": {...}, "jwt": "...", "cwt": "hex"}. stdout: what the `ear`
//! crate reads in each, once it has verified the signature; exit code 1 and a
//! word on stderr where it does not.

use ear::{Algorithm, Ear};
use serde_json::{Value, json};

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let ask: Value = serde_json::from_reader(std::io::stdin()).map_err(|e| e.to_string())?;
    let text = |key: &str| ask[key].as_str().map(str::to_owned).ok_or(key.to_owned());
    let jwk = ask["jwk"].to_string();
    let jwt = Ear::from_jwt_jwk(&text("jwt")?, Algorithm::ES256, jwk.as_bytes())
        .map_err(|e| format!("jwt: {e}"))?;
    let cwt = hex::decode(text("cwt")?).map_err(|e| e.to_string())?;
    let cwt = Ear::from_cose_jwk(&cwt, Algorithm::ES256, jwk.as_bytes())
        .map_err(|e| format!("cwt: {e}"))?;
    println!("{}", json!({"jwt": seen(&jwt)?, "cwt": seen(&cwt)?}));
    Ok(())
}

/// What a relying party gets to see.
fn seen(ear: &Ear) -> Result<Value, String> {
    ear.validate().map_err(|e| e.to_string())?;
    let mut submods = serde_json::Map::new();
    for (name, appraisal) in &ear.submods {
        let status: &str = (&appraisal.status).into();
        let vector = serde_json::to_value(&appraisal.trust_vector).map_err(|e| e.to_string())?;
        submods.insert(
            name.clone(),
            json!({
                "status": status,
                "vector": vector,
                "policy_id": appraisal.policy_id,
            }),
        );
    }
    Ok(json!({
        "profile": ear.profile,
        "iat": ear.iat,
        "developer": ear.vid.developer,
        "build": ear.vid.build,
        "submods": submods,
    }))
}
