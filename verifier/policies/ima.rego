# Holdfast's policy for gateways whose kernel measures files (IMA). As the
# default policy, each quoted PCR must equal a reference value of the class; but
# for PCR 10, which has no value of its own: it must be explained by the IMA
# log, every file in that log must be on the class's allow list (or signed by
# one of its keys), and nothing may have slipped by the kernel.
#
# To use it: `policy apply` it, add 10 to `pcr_selection`, import an
# allow list for the class (docs/operators-guide.md, "Files: IMA").
package holdfast.appraisal

import rego.v1

# PCR 10 counts where the IMA log leads to it.
floor := "boot-log"

result := {"vector": vector, "reasons": reasons}

vector := {
	"instance-identity": instance_identity,
	"hardware": hardware,
	"executables": executables,
	"configuration": configuration,
}

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

executables := 2 if {
	accepted("executables")
	count(ima_reasons) == 0
}

default configuration := -33

configuration := 2 if accepted("configuration")

# At least one PCR beside 10 concerns the claim, and each that does has an
# accepted value.
accepted(claim) if {
	some pcr in boot_pcrs
	pcr.concerns == claim
	every index, concerned in boot_pcrs {
		acceptable(claim, index, concerned)
	}
}

boot_pcrs := {index: pcr | some index, pcr in input.quote.pcrs; index != "10"}

acceptable(claim, _, pcr) if pcr.concerns != claim

acceptable(_, index, pcr) if pcr.value in input.reference.pcrs[index]

# The first of each kind: a result takes 64 reasons.
reasons := array.concat(
	array.concat(array.slice(boot_reasons, 0, 30), array.slice(ima_reasons, 0, 30)),
	strangers,
)

boot_reasons := array.concat(
	array.concat(no_reference, uncovered),
	array.concat(mismatches, unmeasured),
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
	some index, pcr in boot_pcrs
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
	some index, pcr in boot_pcrs
	values := input.reference.pcrs[index]
	not pcr.value in values
	reason := {
		"code": "pcr-mismatch",
		"claims": [pcr.concerns],
		"detail": sprintf("PCR %s (%s): expected %s, got %s", [index, pcr.measures, expected(values), pcr.value]),
		"next_step": "If this change was meant, look at it with `reference diff` and accept it with `gateway approve`, or import new reference values for the class; if not, keep the gateway out and find out what was started on it.",
	}
]

unmeasured := [reason |
	some claim in ["executables", "configuration"]
	input.reference != null
	concerned := [index | some index, pcr in boot_pcrs; pcr.concerns == claim]
	count(concerned) == 0
	reason := {
		"code": "claim-not-measured",
		"claims": [claim],
		"detail": sprintf("no quoted PCR of the boot concerns %s", [claim]),
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

expected(values) := values[0] if count(values) == 1

expected(values) := sprintf("%s or one of %d others", [values[0], count(values) - 1]) if count(values) > 1

# ---- the IMA log

ima_reasons := array.concat(
	array.concat(array.concat(missing, aggregate), unproven),
	array.concat(array.concat(first(unknown), first(mismatched)), first(violations)),
)

# Each names 16 files at most, and says how many there are in all.
first(some_reasons) := array.slice(some_reasons, 0, 8)

no_log if input.ima == null

no_log if input.ima.entries == 0

missing := [reason |
	no_log
	reason := {
		"code": "ima-missing",
		"claims": ["executables"],
		"detail": "the gateway shows no IMA log that leads to the quoted PCR 10",
		"next_step": "Boot its kernel with `ima_policy=tcb` (or a policy of your own), let the attester read binary_runtime_measurements (--ima-log), and have 10 in `pcr_selection`.",
	}
]

aggregate := [reason |
	not no_log
	input.ima.boot_aggregate != "matches"
	reason := {
		"code": "ima-boot-aggregate",
		"claims": ["executables"],
		"detail": sprintf("the IMA log's boot_aggregate over PCRs 0 to 9: %s", [input.ima.boot_aggregate]),
		"next_step": "Have PCRs 0 to 9 in `pcr_selection`; on the gateway IMA must use SHA-256 (`ima_hash=sha256`). Where it differs, the log is of another boot: keep the gateway out.",
	}
]

unknown := [reason |
	some file in input.ima.unknown.first
	reason := {
		"code": "ima-unknown-file",
		"claims": ["executables"],
		"detail": sprintf("%s (%s) is not on the allow list of class %q; unknown in all: %d", [shown(file.path), shown(file.digest), input.gateway.class, input.ima.unknown.count]),
		"next_step": "If the file belongs there, add it to the class's allow list and import that; if not, keep the gateway out and find out where it came from.",
	}
]

mismatched := [reason |
	some file in input.ima.mismatched.first
	reason := {
		"code": "ima-mismatched-file",
		"claims": ["executables"],
		"detail": sprintf("%s is %s, which the allow list of class %q does not have for it; mismatched in all: %d", [shown(file.path), shown(file.digest), input.gateway.class, input.ima.mismatched.count]),
		"next_step": "If the file was updated, add its new digest to the class's allow list and import that; if not, keep the gateway out: the file was changed.",
	}
]

violations := [reason |
	some file in input.ima.violations.first
	reason := {
		"code": "ima-violation",
		"claims": ["executables"],
		"detail": sprintf("%s was written while it was measured, so nobody knows what was run; violations in all: %d", [shown(file.path), input.ima.violations.count]),
		"next_step": "Exempt files that are written while open (logs, databases) from the IMA policy of the gateway, and reboot it.",
	}
]

unproven := [reason | some reason in doubts]

doubts contains doubt(
	"ima-altered",
	"entries of the IMA log do not hash to the digest beside them",
	"Reboot the gateway; if it stays, its log is written by something that is not Linux IMA.",
) if {
	input.ima.altered > 0
}

doubts contains doubt(
	"ima-other-pcr",
	"entries of the IMA log are of other PCRs than 10, which nothing proves",
	"Let the IMA policy of the gateway measure into PCR 10 alone (no `pcr=`), and reboot it.",
) if {
	input.ima.other_pcrs > 0
}

doubts contains doubt(
	"ima-weak-bank",
	"the kernel extends PCR 10 with SHA-1 alone, which collides",
	"Use Linux 5.8 or later on the gateway.",
) if {
	input.ima.extend == "sha1-padded"
}

doubt(code, detail, next_step) := {
	"code": code,
	"claims": ["executables"],
	"detail": detail,
	"next_step": next_step,
}

# Of what a gateway names no more than a reason holds.
shown(text) := substring(text, 0, 200)
