# Affirms a gateway whose boot log proves that exactly what the owner lists
# was started: firmware, images, keys, kernel, command line. Nothing is accepted
# by default; each refusal says what to add to which list. No reference values of
# PCRs are needed, so an update asks for new entries here, and lists may hold old
# and new side by side. Input and output: docs/policy.md.
#
# Holdfast's own floor holds beneath it: each quoted PCR equals a reference
# value or is explained by the boot log. A PCR that the operating system goes on
# extending (10 without an IMA log, mostly 11 and 15) does neither: leave it out
# of `pcr_selection`.
package holdfast.appraisal

import rego.v1

floor := "boot-log"

# ---- to be edited by the owner

# Firmware versions (PCR 0), as `inspect boot-log` shows them.
accepted_firmware := []

# Digests (of the quoted bank) of measurements of PCR 0, 2 and 4 that are no
# text: firmware volumes, option ROMs, boot loaders, kernels.
accepted_images := []

# SHA-256 of the certificates (DER), or of the images, that may let an image
# run.
accepted_authorities := []

# SHA-256 of accepted values of the variables.
accepted_databases := {"PK": [], "KEK": [], "db": []}

# Entries that dbx must have at least.
least_dbx_entries := 1

# Digests of the files that the boot loader reads (PCR 9, 11 and 13): its own
# configuration, kernel, initrd, sections of a unified kernel image.
accepted_files := []

# PCRs that must be quoted; add 11, 12 and 13 where systemd-boot or unified
# kernel images may be started.
needed_pcrs := [0, 2, 4, 8, 9]

# Digests of measurements of PCR 8 and 12 that are known and are no text.
accepted_unread := []

# Commands of GRUB that start nothing, whatever words they have. All other texts
# of PCR 8 are taken for command lines: a kernel is started by `linux`, by
# `chainloader` with options after it, and by others still.
harmless_commands := [
	"[", "test", "true", "false", "set", "unset", "export", "insmod", "rmmod", "search", "search.file",
	"search.fs_label", "search.fs_uuid", "load_env", "save_env", "loadfont", "terminal_input",
	"terminal_output", "serial", "echo", "menuentry", "submenu", "setparams", "background_color",
	"background_image", "play", "clear", "sleep", "probe", "regexp", "smbios", "increment", "hash",
	"configfile", "source", ".", "normal", "return", "break", "continue", "shift", "blscfg", "initrd",
	"initrd16", "initrdefi", "loopback", "gfxmode", "load_video", "recordfail", "savedefault", "fwsetup",
	"cryptomount", "videoinfo", "videomode", "pager", "lsefi", "ls", "cat", "reboot", "halt", "exit",
]

# Words that a kernel command line may have, besides the kernel's own path; one
# that ends in `=` or `_` stands for all that begin so.
accepted_words := []

# ---- the policy

result := {"vector": vector, "reasons": reasons}

vector := {
	"instance-identity": instance_identity,
	"hardware": hardware,
	"executables": executables,
	"configuration": configuration,
}

judged := [reason |
	some found in [
		secure_boot_off, unproven_policy, shim_off, authorities, unknown_settings, unknown_databases, databases, short_dbx,
		weak_actions, open_ends, unquoted, no_command_line, hidden_texts, firmware, images, files, words,
	]
	some reason in found
]

default instance_identity := 97

instance_identity := 2 if {
	input.ak.known_by == "credential-activation"
	input.ldevid.known_by == "tpm2-certify"
}

default hardware := 97

hardware := 2 if input.endorsement.known_by in {"ek-certificate", "iak-certificate"}

# The owner listed the key, and vouches for its TPM (docs/endorsement.md).
hardware := 2 if input.endorsement.known_by == "fingerprint"

# 33 is "unrecognised", -33 the same for a configuration (private value).
default executables := 33

executables := 3 if {
	log
	count(against("executables")) == 0
}

default configuration := -33

configuration := 2 if {
	log
	count(against("configuration")) == 0
}

# Without a log there is nothing to judge; the floor says `boot-log-missing`.
log := input.boot_log if input.boot_log != null

against(claim) := [reason | some reason in judged; claim in reason.claims]

# The first of each kind: a result takes 64 reasons.
reasons := array.concat(
	array.concat(array.slice(against("executables"), 0, 30), array.slice(other, 0, 30)),
	strangers,
)

other := [reason | some reason in judged; not "executables" in reason.claims]

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

# ---- Secure Boot (PCR 7)

secure_boot_off := [reason |
	not secure_boot_on
	reason := {
		"code": "secure-boot-off",
		"claims": ["configuration", "executables"],
		"detail": secure_boot_state,
		"next_step": "Switch Secure Boot on in the firmware setup; if it is on, add PCR 7 to `pcr_selection` and see whether the boot log explains it.",
	}
]

secure_boot_on if {
	log.secure_boot.enabled == true
	log.secure_boot.known_by == "proven"
}

default secure_boot_state := "the boot log does not say whether Secure Boot is on"

secure_boot_state := "Secure Boot is off" if log.secure_boot.enabled == false

secure_boot_state := "the boot log claims that Secure Boot is on, and PCR 7 does not prove it" if {
	log.secure_boot.enabled == true
	log.secure_boot.known_by != "proven"
}

# No digest covers the type of an event: who changes the log can call an
# authority something else, and it is gone from the list of authorities. So
# each event of PCR 7 must prove what it says.
unproven_policy := [reason |
	some event in log.events
	event.pcr == 7
	event.known_by != "proven"
	reason := {
		"code": "secure-boot-unproven",
		"claims": ["configuration", "executables"],
		"detail": sprintf("event %d of PCR 7 (%s) does not prove what it says", [event.event, event.claimed_type]),
		"next_step": "Look at the log with `holdfast-verifier inspect boot-log`: an event of another kind than firmware measures there, or a log that was changed.",
	}
]

# shim was told not to check signatures (mokutil --disable-validation).
shim_off := [reason |
	some authority in log.secure_boot.authorities
	authority.variable == "MokSBState"
	reason := {
		"code": "shim-validation-off",
		"claims": ["configuration", "executables"],
		"detail": "shim was told not to check signatures",
		"next_step": "Run `mokutil --enable-validation` on the gateway and restart it.",
	}
]

unknown_authorities := [reason |
	count(accepted_authorities) > 0
	some authority in log.secure_boot.authorities
	authority.kind != "other"
	not authority.sha256 in accepted_authorities
	reason := {
		"code": "authority-not-accepted",
		"claims": ["executables"],
		"detail": sprintf("an image was let run by %s %s (%s), which this policy does not list", [authority.kind, authority.sha256, named(authority)]),
		"next_step": "If images that it signs may run, add it to `accepted_authorities` in the policy; if not, forbid it in dbx.",
	}
]

named(authority) := substring(authority.subject, 0, 200) if authority.subject != null

named(authority) := substring(authority.variable, 0, 200) if authority.subject == null

# What is neither a certificate nor a hash is a setting of shim's, by its name
# and its vendor; of anything else nothing is known but that it let an image run.
unknown_settings := [reason |
	some authority in log.secure_boot.authorities
	authority.kind == "other"
	not is_setting(authority)
	not authority.sha256 in accepted_authorities
	reason := {
		"code": "authority-not-accepted",
		"claims": ["executables"],
		"detail": sprintf("an image was let run by the value %s of %q, which is neither a certificate nor a hash nor a setting of shim", [authority.sha256, substring(authority.variable, 0, 160)]),
		"next_step": "Look at the log with `holdfast-verifier inspect boot-log`; if what this lets run may run, add the value to `accepted_authorities` in the policy, if not, keep the gateway out.",
	}
]

is_setting(authority) if {
	authority.vendor == "605dab50-e046-4300-abb6-3dd810dd8b23"
	authority.variable in settings_of_shim
}

# MokSBState is shim's too, and refused above.
settings_of_shim := ["SbatLevel", "MokListTrusted", "MokPolicy", "MokDBState", "MokSBState"]

unknown_databases := [reason |
	some name, accepted in accepted_databases
	count(accepted) > 0
	not database_accepted(name, accepted)
	reason := {
		"code": "secure-boot-keys-changed",
		"claims": ["configuration"],
		"detail": sprintf("%s has the SHA-256 %s, which this policy does not list", [name, database_digest(name)]),
		"next_step": "If the keys were meant to change, add the value to `accepted_databases` in the policy; if not, find out who changed them.",
	}
]

database_accepted(name, accepted) if {
	log.secure_boot.databases[name].known_by == "proven"
	log.secure_boot.databases[name].sha256 in accepted
}

database_digest(name) := log.secure_boot.databases[name].sha256 if log.secure_boot.databases[name]

database_digest(name) := "(not measured)" if not log.secure_boot.databases[name]

short_dbx := [reason |
	forbidden_entries < least_dbx_entries
	reason := {
		"code": "dbx-too-old",
		"claims": ["configuration"],
		"detail": sprintf("dbx has %d entries, this policy asks for %d", [forbidden_entries, least_dbx_entries]),
		"next_step": "Update dbx on the gateway (fwupdmgr update) and restart it.",
	}
]

default forbidden_entries := 0

forbidden_entries := log.secure_boot.databases.dbx.entries if log.secure_boot.databases.dbx.known_by == "proven"

# ---- how firmware ended its part

# Debugging, or devices that could write to memory; a boot that went wrong.
weak_actions := [reason |
	some action in log.actions
	action.action in ["debug-mode", "dma-protection-disabled"]
	reason := {
		"code": "firmware-weakened",
		"claims": ["configuration"],
		"detail": sprintf("firmware measured %q", [substring(action.text, 0, 160)]),
		"next_step": "Correct the firmware setup and restart the gateway.",
	}
]

# Each of PCR 0 to 7 that was quoted ends in one separator, and not with an
# error. A missing one leaves the door open to later measurements.
open_ends := [reason |
	some pcr in numbers_of_firmware
	input.quote.pcrs[sprintf("%d", [pcr])]
	not ended(pcr)
	reason := {
		"code": "separator-not-proven",
		"claims": [input.quote.pcrs[sprintf("%d", [pcr])].concerns],
		"detail": sprintf("PCR %d: the boot log does not prove that firmware ended its measurements in good order", [pcr]),
		"next_step": "Look at the log with `holdfast-verifier inspect boot-log`: a separator is missing, repeated, or one of an error.",
	}
]

numbers_of_firmware := [0, 1, 2, 3, 4, 5, 6, 7]

ended(pcr) if {
	found := [separator | some separator in log.separators; separator.pcr == pcr]
	count(found) == 1
	found[0].state == "ready"
	found[0].known_by == "proven"
}

# ---- what the loader was told (PCR 8 and 12)

# Of a PCR that is not quoted a log may leave out what it likes.
unquoted := [reason |
	some pcr in needed_pcrs
	not input.quote.pcrs[sprintf("%d", [pcr])]
	reason := {
		"code": "claim-not-measured",
		"claims": ["executables", "configuration"],
		"detail": sprintf("PCR %d is not quoted, so that nothing proves what the boot log leaves out of it", [pcr]),
		"next_step": "Add this PCR to `pcr_selection` in config.toml, or take it out of `needed_pcrs` in the policy where no boot loader of yours measures into it.",
	}
]

# An event whose digest covers no text may hide any: what it says was not
# what was measured. Digests that are known to be something else are listed.
hidden_texts := [reason |
	some event in log.loader.unread
	not event.digest in accepted_unread
	reason := {
		"code": "command-line-hidden",
		"claims": ["configuration"],
		"detail": sprintf("event %d of PCR %d (%s): its digest %s does not cover a text", [event.event, event.pcr, event.claimed_type, object.get(event, "digest", "(none)")]),
		"next_step": "If this measurement is known (credentials or an extension of systemd-stub), add its digest to `accepted_unread` in the policy; if not, keep the gateway out.",
	}
]

# A kernel's command line, by what the text itself is: its label is in no
# digest. GRUB measures it with the kernel's path first (which may be a list of
# blocks, 0+9000), and the command that starts it with both; systemd-stub
# measures the line alone, to PCR 12.
is_command_line(text) if text.pcr == 12

is_command_line(text) if {
	text.pcr != 12
	not text.words[0] in harmless_commands
}

# Where a loader tells a command line, there is one: a PCR that nobody extended
# says nothing of how the kernel was started.
no_command_line := [reason |
	judged_pcrs := [pcr | some pcr in needed_pcrs; pcr in [8, 12]]
	count(judged_pcrs) > 0
	lines := [text |
		some text in log.loader.texts
		text.pcr in judged_pcrs
		text.known_by == "proven"
		count(text.words) > 0
		is_command_line(text)
	]
	count(lines) == 0
	reason := {
		"code": "command-line-not-measured",
		"claims": ["configuration"],
		"detail": "no loader measured a command line into the PCRs that this policy needs (8, 12)",
		"next_step": "Let the boot loader measure (GRUB's module tpm, systemd-boot, a unified kernel image); where none of yours does, take 8 and 12 out of `needed_pcrs` in the policy.",
	}
]

# ---- lists in which nothing is accepted by default

authorities := array.concat(unknown_authorities, [reason |
	count(accepted_authorities) == 0
	some authority in log.secure_boot.authorities
	authority.kind != "other"
	reason := {
		"code": "authority-not-accepted",
		"claims": ["executables"],
		"detail": sprintf("an image was let run by %s %s (%s), and this policy lists none", [authority.kind, authority.sha256, named(authority)]),
		"next_step": "If images that it signs may run, add it to `accepted_authorities` in the policy.",
	}
])

databases := [reason |
	some name, accepted in accepted_databases
	count(accepted) == 0
	reason := {
		"code": "secure-boot-keys-changed",
		"claims": ["configuration"],
		"detail": sprintf("%s has the SHA-256 %s, and this policy lists none", [name, database_digest(name)]),
		"next_step": "If these are the right keys, add the value to `accepted_databases` in the policy.",
	}
]

firmware := [reason |
	not firmware_accepted
	reason := {
		"code": "firmware-not-accepted",
		"claims": ["executables"],
		"detail": sprintf("firmware version %s (%s) is not one that this policy lists", [firmware_version, log.firmware.known_by]),
		"next_step": "If this version was meant to be installed, add it to `accepted_firmware` in the policy.",
	}
]

firmware_accepted if {
	log.firmware.known_by == "proven"
	log.firmware.version in accepted_firmware
}

default firmware_version := "(not measured)"

firmware_version := substring(log.firmware.version, 0, 160) if log.firmware.version != null

# By `events`, not by `images`: no digest covers the type of an event, so that
# an image can be called something else, but not be left out.
images := [reason |
	some event in log.events
	event.pcr in [0, 2, 4]
	not measurement_accepted(event, accepted_images)
	reason := {
		"code": "image-not-accepted",
		"claims": ["executables"],
		"detail": sprintf("event %d of PCR %d (%s): %s is not a digest that this policy lists", [event.event, event.pcr, event.claimed_type, event.digest]),
		"next_step": "If this image was meant to run, add the digest to `accepted_images` in the policy; if not, keep the gateway out.",
	}
]

files := [reason |
	some event in log.events
	event.pcr in [9, 11, 13]
	not measurement_accepted(event, accepted_files)
	reason := {
		"code": "file-not-accepted",
		"claims": ["executables"],
		"detail": sprintf("event %d of PCR %d: %s is not a digest that this policy lists", [event.event, event.pcr, event.digest]),
		"next_step": "If this file was meant to be read at boot, add the digest to `accepted_files` in the policy; if not, keep the gateway out.",
	}
]

# What an event proves by itself is judged by what it says.
measurement_accepted(event, _) if event.known_by == "proven"

measurement_accepted(event, accepted) if {
	event.digest_known_by == "proven"
	event.digest in accepted
}

words := [reason |
	some text in log.loader.texts
	is_command_line(text)
	some word in arguments(text)
	not word_accepted(word)
	reason := {
		"code": "command-line-not-accepted",
		"claims": ["configuration"],
		"detail": sprintf("event %d of PCR %d: the command line has the word %q, which this policy does not list", [text.event, text.pcr, substring(word, 0, 160)]),
		"next_step": "If this was meant, add the word to `accepted_words` in the policy; if not, keep the gateway out.",
	}
]

# Without the kernel's path, and the command before it.
arguments(text) := text.words if text.pcr == 12

arguments(text) := array.slice(text.words, 2, count(text.words)) if {
	text.pcr != 12
	text.words[0] in starting_commands
}

arguments(text) := array.slice(text.words, 1, count(text.words)) if {
	text.pcr != 12
	not text.words[0] in starting_commands
}

starting_commands := ["linux", "linux16", "linuxefi", "chainloader"]

word_accepted(word) if word in accepted_words

word_accepted(word) if {
	some accepted in accepted_words
	endswith(accepted, "=")
	startswith(word, accepted)
}

word_accepted(word) if {
	some accepted in accepted_words
	endswith(accepted, "_")
	startswith(word, accepted)
}
