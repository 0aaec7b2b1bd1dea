#include "run_facts.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>

#include "version.hpp"

namespace winnow::cli {
namespace {

std::string quoted(const std::string& word) {
  return word.find_first_of(" \t\"'\\$&|;<>()*?") == std::string::npos ? word : "'" + word + "'";
}

}  // namespace

std::map<std::string, report::Attribute> run_facts(const std::string& subcommand, const Arguments& arguments) {
  const auto& version = build_version();
  std::string command = "winnow " + subcommand;
  for (const auto& word : arguments) command += " " + quoted(word);
  std::map<std::string, report::Attribute> facts{
      {"winnow_version", std::string(version.number)},
      {"git_sha", std::string(version.git_sha)},
      {"command_line", command},
      {"created_utc", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                                  fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())))},
      {"libtorch_version", std::string(version.libtorch)},
      {"hdf5_version", std::string(version.hdf5)},
      {"mpi_version", std::string(version.mpi)},
      {"nccl_version", std::string(version.nccl)},
  };
  if (const char* job = std::getenv("SLURM_JOB_ID")) facts["slurm_job_id"] = std::string(job);
  return facts;
}

}  // namespace winnow::cli
