# Holdfast's first appraisal policy. It affirms a gateway whose TPM is
# endorsed and whose quoted PCRs all equal reference values of its class, and
# nothing less. Input and output: docs/policy.md.
#
# Whatever a policy says, Holdfast's own floor holds beneath it: no PCR that
# differs from, or lacks, its reference values is ever affirmed.
package holdfast.appraisal

import rego.v1

result := {"vector": vector, "reasons": reasons}

# AR4SI values: 2 affirms, 3 affirms what ran at boot, 33 is "unrecognised",
# -33 the same for a configuration (private value), 97 "unrecognised hardware".
vector := {
	"instance-identity": instance_identity,
	"hardware": hardware,
	"executables": executables,
	"configuration": configuration,
}

# The AK was activated against the endorsed EK and certified the LDevID key.
default instance_identity := 97

instance_identity := 2 if {
	input.ak.known_by == "credential-activation"
	input.ldevid.known_by == "tpm2-certify"
}

default hardware := 97

hardware := 2 if input.endorsement.known_by in {"ek-certificate", "iak-certificate"}

# The owner listed the key, and vouches for its TPM (docs/endorsement.md).
hardware := 2 if input.endorsement.known_by == "fingerprint"

default executables := 33

executables := 3 if accepted("executables")

default configuration := -33

configuration := 2 if accepted("configuration")

# At least one PCR concerns the claim, and each that does has an accepted value.
accepted(claim) if {
	some pcr in input.quote.pcrs
	pcr.concerns == claim
	every index, concerned in input.quote.pcrs {
		acceptable(claim, index, concerned)
	}
}

acceptable(claim, _, pcr) if pcr.concerns != claim

acceptable(_, index, pcr) if pcr.value in input.reference.pcrs[index]

reasons := array.concat(
	array.concat(no_reference, uncovered),
	array.concat(array.concat(mismatches, unmeasured), strangers),
)

no_reference := [reason |
	input.reference == null
	reason := {
		"code": "no-reference-values",
		"claims": ["executables", "configuration"],
		"detail": sprintf("class %q has no reference values to compare the quoted PCRs with", [input.gateway.class]),
		"next_step": "Give the class its accepted PCR values with `holdfast-verifier reference import`, then let the gateway try again.",
	}
]

uncovered := [reason |
	some index, pcr in input.quote.pcrs
	input.reference != null
	not input.reference.pcrs[index]
	reason := {
		"code": "pcr-not-covered",
		"claims": [pcr.concerns],
		"detail": sprintf("PCR %s (%s): the reference values of class %q say nothing of it", [index, pcr.measures, input.gateway.class]),
		"next_step": "Add this PCR to the class's reference values and import them, or take it out of `pcr_selection` in config.toml.",
	}
]

mismatches := [reason |
	some index, pcr in input.quote.pcrs
	values := input.reference.pcrs[index]
	not pcr.value in values
	reason := {
		"code": "pcr-mismatch",
		"claims": [pcr.concerns],
		"detail": sprintf("PCR %s (%s): expected %s, got %s", [index, pcr.measures, expected(values), pcr.value]),
		"next_step": "If this change was meant, look at it with `reference diff` and accept it with `gateway approve`, or import new reference values for the class; if not, keep the gateway out and find out what was started on it.",
	}
]

# A selection without any PCR for a claim leaves nothing to affirm it by.
unmeasured := [reason |
	some claim in ["executables", "configuration"]
	input.reference != null
	concerned := [index | some index, pcr in input.quote.pcrs; pcr.concerns == claim]
	count(concerned) == 0
	reason := {
		"code": "claim-not-measured",
		"claims": [claim],
		"detail": sprintf("no quoted PCR concerns %s", [claim]),
		"next_step": "Add a PCR that measures it to `pcr_selection` in config.toml (docs/policy.md lists them).",
	}
]

strangers := [reason |
	some claim in ["instance-identity", "hardware"]
	vector[claim] == 97
	reason := {
		"code": "not-recognised",
		"claims": [claim],
		"detail": sprintf("%s is not established by a means that this policy knows", [claim]),
		"next_step": "Enrol the gateway anew; if that fails, import the endorsement of its TPM's maker.",
	}
]

# One value as it is; of several the first, and how many more there are.
expected(values) := values[0] if count(values) == 1

expected(values) := sprintf("%s or one of %d others", [values[0], count(values) - 1]) if count(values) > 1
