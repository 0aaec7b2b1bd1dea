#include "session.hpp"

#include <fmt/format.h>

#include <utility>

namespace winnow::report {
namespace {

// H5Ewalk2 upward starts at the function that first saw the trouble; the frames above only repeat "cannot open".
std::string innermost_reason() {
  std::string reason;
  const auto keep_first = [](unsigned, const H5E_error2_t* frame, void* out) -> herr_t {
    auto& text = *static_cast<std::string*>(out);
    if (text.empty() && frame->desc != nullptr) text = frame->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
  return reason.empty() ? "HDF5 gives no reason" : reason;
}

}  // namespace

Hdf5Session::Hdf5Session(std::string path, base::ErrorKind kind) : path_(std::move(path)), kind_(kind) {
  H5Eget_auto2(H5E_DEFAULT, &printer_, &printer_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Session::~Hdf5Session() {
  H5Eclear2(H5E_DEFAULT);
  H5Eset_auto2(H5E_DEFAULT, printer_, printer_data_);
}

Handle Hdf5Session::own(hid_t id, Handle::Closer closer, std::string_view doing) const {
  if (id < 0) throw failure(doing);
  return {id, closer};
}

void Hdf5Session::check(herr_t status, std::string_view doing) const {
  if (status < 0) throw failure(doing);
}

base::Error Hdf5Session::error(std::string_view what) const {
  return base::Error(kind_, std::string(what)).file(path_);
}

base::Error Hdf5Session::failure(std::string_view doing) const {
  auto failed = error(fmt::format("cannot {} (HDF5: {})", doing, innermost_reason()));
  if (kind_ != base::ErrorKind::invalid_input) return failed;
  return std::move(failed).advice("the file may be cut short or damaged: copy it again");
}

}  // namespace winnow::report
