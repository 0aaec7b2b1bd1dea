// Attributes of a report as other formats want them: a report may hold anything under any name. Private to src/report.
#pragma once

#include <string>
#include <string_view>

#include "winnow/report/report.hpp"

namespace winnow::report {

/// Empty if there is none of that name, or one that is no text.
std::string text_attribute(const Report& report, const char* name);

/// When the report was made, as RFC 3339 writes it; empty if that is not known.
std::string creation_time(const Report& report);

/// 64 hexadecimal digits, as other formats want it.
bool is_sha256(std::string_view text);

/// Whether the audit read the checkpoint `role`, base or aligned; a path alone says nothing.
bool has_checkpoint(const Report& report, const std::string& role);

}  // namespace winnow::report
