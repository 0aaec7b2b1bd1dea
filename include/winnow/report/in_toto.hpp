// A report as an in-toto Statement v1 (github.com/in-toto/attestation, spec/v1/statement.md): what is signed, by
// sigstore's tools, to say who vouches for an audit.
//
//     subject      the report, by the SHA-256 of its file
//     predicate    urn:winnow:audit:1
//       program      name, version and revision of what audited
//       command      as it was given;  finished: when (RFC 3339), if that is known
//       options      those that decide on the result
//       inputs       ResourceDescriptors with digests: checkpoints, adapters, probes, the bank
//       result       the seal of the report; how many adapters, how many of each verdict
//
// The predicate is winnow's own. SLSA provenance v1 has members for all of this as well, but its builder.id stands for
// everybody and everything that is trusted to run the build, hardware and people included, and alone decides on a SLSA
// level; a program knows none of that, and what signs its statement would claim it. Test Result and the like are about
// subjects that were tested and say nothing of digests of inputs.
//
// Digests that are no hash of a file have names of their own, so that nobody takes them for one (digest_set.md). All
// are lower-case hex:
//     sha256                     of an adapter's file of weights
//     winnowUpdate               SHA-256 of an adapter's weights and scales (adapter/adapter.hpp)
//     winnowHeaders              SHA-256 of the headers of a checkpoint's shards (checkpoint/catalogue.hpp)
//     winnowSamples              SHA-256 of a page of each of its tensors
//     winnowHeadersAndSamples    SHA-256 of both, of a probe that is a direction
//     winnowTensors              SHA-256 of NAME NUL DIGEST NUL of every tensor that was scored, in the report's order
//                                of modules; the digests are XXH3 sums (checkpoint/tensor_digest.hpp), so it tells
//                                accidents, not forgers
//     winnowSeal                 SHA-256 of the report but for its last line, which says so
#pragma once

#include <string>

#include "winnow/report/hdf5_report.hpp"

namespace winnow::report {

inline constexpr const char* kInTotoStatement = "https://in-toto.io/Statement/v1";
inline constexpr const char* kInTotoPredicate = "urn:winnow:audit:1";

/// The statement, as JSON. Same report, same text, wherever it lies. Text that is not UTF-8 is made so. An adapter of
/// which nothing could be read has no digest: it is counted, and no input. Throws Error(invalid_input) for a report
/// without a seal: nobody knows then what there is to vouch for.
std::string render_in_toto(const ReportFile& file);

}  // namespace winnow::report
