# Affirms that a gateway is the machine that it says it is, and nothing of what
# runs on it: for a start, before reference values are known, and for hardware
# whose PCRs nobody can foretell. The result then claims nothing about software;
# relying parties that ask for `executables` or `configuration` do not get them.
# PCRs that differ from reference values are reported. Input and output:
# docs/policy.md.
package holdfast.appraisal

import rego.v1

floor := "hardware"

# Makers whose TPMs are good enough, as their EK certificates name them, e.g.
# "id:49465800" (Infineon). Empty: every maker that the owner endorsed.
makers := []

result := {"vector": vector, "reasons": reasons}

# AR4SI values: 2 affirms, 97 is "unrecognised hardware" or instance.
vector := {
	"instance-identity": instance_identity,
	"hardware": hardware,
}

default instance_identity := 97

instance_identity := 2 if {
	input.ak.known_by == "credential-activation"
	input.ldevid.known_by == "tpm2-certify"
}

default hardware := 97

hardware := 2 if {
	input.endorsement.known_by in {"ek-certificate", "iak-certificate"}
	known_maker
}

known_maker if count(makers) == 0

known_maker if input.endorsement.manufacturer in makers

reasons := array.concat(strangers, foreign)

strangers := [reason |
	instance_identity == 97
	reason := {
		"code": "not-recognised",
		"claims": ["instance-identity"],
		"detail": "instance-identity is not established by a means that this policy knows",
		"next_step": "Enrol the gateway anew.",
	}
]

foreign := [reason |
	hardware == 97
	reason := {
		"code": "hardware-not-accepted",
		"claims": ["hardware"],
		"detail": sprintf("the TPM is by maker %q, which this policy does not list", [input.endorsement.manufacturer]),
		"next_step": "If TPMs of this maker are good enough, add it to `makers` in the policy.",
	}
]
