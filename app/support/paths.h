// Where files live: docs/configuration.md has the table.
#pragma once

#include <string>
#include <vector>

#include "app/config/settings.h"

namespace fieldprint::app {

// Configuration files that are read when --config names none, weakest first; a file that
// does not exist is skipped. /etc/fieldprint/fieldprint.toml, then the user's.
std::vector<std::string> default_config_files();

// --state-dir, else systemd's $STATE_DIRECTORY, else $XDG_STATE_HOME/fieldprint.
std::string state_dir(const Settings& settings);
// --cache-dir, else systemd's $CACHE_DIRECTORY, else $XDG_CACHE_HOME/fieldprint.
std::string cache_dir(const Settings& settings);
// --models-dir, else ./models, the cache folder's models/, /var/cache/fieldprint/models.
std::vector<std::string> model_dirs(const Settings& settings);

// Creates the folder and its parents, 0700 for those it makes. Errors: io_folder.
Status make_folder(const std::string& path);
// Writes beside the target and renames, so that readers see the old or the new file.
// Errors: io_write.
Status write_file_atomically(const std::string& path, std::string_view bytes);
// Whole file, at most `limit` bytes. Errors: io_open, input_too_large.
Result<std::string> read_text_file(const std::string& path, std::size_t limit);
// All of standard input, at most `limit` bytes. Errors: input_too_large, io_read.
Result<std::string> read_stdin(std::size_t limit);

}  // namespace fieldprint::app
