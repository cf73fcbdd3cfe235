// The record log: format, recovery, compaction, and a fuzzer of its reader. The fuzzer changes bytes
// of a valid file, mends the checksums in most cases so that the values behind them are reached, and
// uses everything that opens; run under AddressSanitizer it finds what a hostile file could do.
// HIVE_FUZZ_RUNS sets how many files it tries.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>

#include "core_fixture.h"
#include "crc32c.h"
#include "record_log.h"

namespace hive::test {
namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    char name[] = "/tmp/hive-gpu-log-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  std::string path;
};

LogSpec spec_for(const std::string& directory, uint32_t dtype = HIVE_DTYPE_F32) {
  LogSpec spec;
  spec.directory = directory;
  spec.identity = {std::string(16, 'd'), 7, "name", 8, dtype, 1};
  spec.writable = true;
  return spec;
}

struct Store {
  explicit Store(LogSpec s)
      : spec(std::move(s)),
        log(RecordLog::open(spec)),
        rows(std::make_shared<Collection>(8, 1, spec.identity.dtype, uint64_t{1} << 30)) {}

  void put(const std::vector<std::string>& ids, uint32_t seed) {
    const std::shared_ptr<LogBatch> batch = log->begin(ids.size());
    for (const std::string& id : ids) batch->stage(id, "{\"text\":\"" + id + "\"}");
    const std::shared_ptr<Batch> vectors = rows->begin();
    const std::vector<float> data = random_rows(ids.size(), 8, seed);
    vectors->push(data.data(), ids.size());
    REQUIRE_FALSE(finish(*vectors));
    REQUIRE(batch->prepare_next(vectors->first_row(), 1000));
    batch->append(vectors.get(), ++sequence, false);
    while (!batch->install_next(3)) {
    }
    vectors->commit(batch->tombstones());
    batch->publish();
    while (!batch->merge_next(3)) {
    }
  }

  void remove(const std::string& id) {
    const std::shared_ptr<LogBatch> batch = log->begin(1);
    batch->remove(*log->row_of(id));
    REQUIRE(batch->prepare_next(0, 1000));
    batch->append(nullptr, ++sequence, false);
    REQUIRE(batch->install_next(10));
    batch->publish();
    REQUIRE(batch->merge_next(10));
  }

  LogSpec committed() const {
    LogSpec out = spec;
    out.files.clear();
    for (const auto& file : log->files()) out.files.push_back({file->number, file->length});
    out.next_file = log->next_file();
    out.end_row = log->end_row();
    out.sequence = sequence;
    return out;
  }

  LogSpec spec;
  std::shared_ptr<RecordLog> log;
  std::shared_ptr<Collection> rows;
  uint64_t sequence = 0;
};

std::optional<Failure> load(const std::shared_ptr<RecordLog>& log,
                            const std::shared_ptr<Collection>& into) {
  std::promise<std::optional<Failure>> done;
  load_rows(log, into, [&](std::optional<Failure> failure) { done.set_value(std::move(failure)); });
  return done.get_future().get();
}

void fill(Store* store) {
  for (uint32_t i = 0; i < 6; ++i) {
    std::vector<std::string> ids;
    for (uint32_t j = 0; j < 5; ++j) ids.push_back("id" + std::to_string((i * 3 + j) % 12));
    store->put(ids, i);
  }
  store->remove("id4");
  store->put({"last"}, 99);
}

// Uses everything that an opened log offers.
void use(const std::shared_ptr<RecordLog>& log, uint32_t dtype) {
  const auto rows = std::make_shared<Collection>(8, 1, dtype, uint64_t{1} << 30);
  (void)load(log, rows);
  for (const auto& file : log->files()) {
    for (const uint64_t row : file->rows) {
      try {
        (void)log->read_record(row);
        (void)read_vector(*log, row);
      } catch (const Failure&) {
      }
      (void)log->row_of(log->info(row)->id_view());
    }
  }
  try {
    ChangeReader reader(*log, 0);
    while (!reader.next(1000).changes.empty()) {
    }
  } catch (const Failure&) {
  }
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Mends the checksums of the header and of every frame that can be walked to.
void mend(std::string* bytes) {
  const auto put = [&](size_t at, uint32_t value) {
    if (at + 4 <= bytes->size()) std::memcpy(bytes->data() + at, &value, 4);
  };
  const auto get = [&](size_t at, auto* value) {
    std::memcpy(value, bytes->data() + at, sizeof *value);
  };
  if (bytes->size() < kFileHeaderBytes) return;
  put(kFileHeaderBytes - 4, crc32c(0, bytes->data(), kFileHeaderBytes - 4));
  size_t at = kFileHeaderBytes;
  while (at + kFrameHeaderBytes <= bytes->size()) {
    uint32_t table = 0;
    uint64_t records = 0;
    uint64_t vectors = 0;
    get(at + 28, &table);
    get(at + 32, &records);
    get(at + 40, &vectors);
    const size_t left = bytes->size() - at - kFrameHeaderBytes;
    if (table <= left) put(at + 48, crc32c(0, bytes->data() + at + kFrameHeaderBytes, table));
    put(at + 60, crc32c(0, bytes->data() + at, 60));
    if (table > left || records > left - table || vectors > left - table - records) return;
    size_t next = at + kFrameHeaderBytes + table + records;
    next += padding(next) + vectors;
    at = next + padding(next);
  }
}

}  // namespace

TEST_CASE("crc32c has the standard's values, with and without the instruction") {
  CHECK(crc32c(0, "123456789", 9) == 0xe3069283u);
  const std::vector<float> noise = random_rows(40, 8, 3);
  const auto* bytes = reinterpret_cast<const char*>(noise.data());
  for (size_t n = 0; n < 200; ++n) {
    CHECK(crc32c(5, bytes + n % 7, n) == crc32c_portable(5, bytes + n % 7, n));
    CHECK(crc32c(crc32c(0, bytes, n), bytes + n, 100) == crc32c(0, bytes, n + 100));
  }
}

TEST_CASE("record log: reopening gives the same rows, ids, records, vectors and digest") {
  for (const uint32_t dtype : {HIVE_DTYPE_F32, HIVE_DTYPE_F16, HIVE_DTYPE_BF16, HIVE_DTYPE_I8}) {
    const Folder folder;
    Store store(spec_for(folder.path, dtype));
    fill(&store);
    const auto again = RecordLog::open(store.committed());
    CHECK(again->count() == store.log->count());
    CHECK(again->digest() == store.log->digest());
    CHECK_FALSE(again->row_of("id4"));
    for (uint32_t i = 0; i < 12; ++i) {
      const std::string id = "id" + std::to_string(i);
      REQUIRE(again->row_of(id) == store.log->row_of(id));
      if (i == 4) continue;
      const uint64_t row = *again->row_of(id);
      CHECK(again->read_record(row) == "{\"text\":\"" + id + "\"}");
      CHECK(read_vector(*again, row) == read_vector(*store.log, row));
    }
    const auto rows = std::make_shared<Collection>(8, 1, dtype, uint64_t{1} << 30);
    REQUIRE_FALSE(load(again, rows));
    CHECK(rows->snapshot()->live_rows == again->count());
    CHECK(rows->snapshot()->end_row == again->end_row());
  }
}

TEST_CASE("record log: a commit that is whole is kept, one that is not is cut off") {
  const Folder folder;
  Store store(spec_for(folder.path));
  store.put({"a", "b"}, 1);
  const LogSpec before = store.committed();
  store.put({"c", "a"}, 2);
  const LogSpec after = store.committed();
  const std::string path = store.log->path_of(before.files[0].number);
  const std::string whole = read_file(path);
  for (uint64_t cut = before.files[0].length; cut <= whole.size(); cut += 64) {
    write_file(path, whole.substr(0, cut));
    const auto log = RecordLog::open(before);
    const bool kept = cut == whole.size();
    CHECK(log->count() == (kept ? 3 : 2));
    CHECK(log->files()[0]->file->size() == (kept ? whole.size() : before.files[0].length));
    CHECK(log->digest() == (kept ? store.log->digest() : log->digest()));
  }
  CHECK(after.files[0].length == whole.size());
}

TEST_CASE("record log: compaction keeps what lives, and what made older rows dead") {
  const Folder folder;
  Store store(spec_for(folder.path));
  fill(&store);
  store.log->seal_tail();
  store.put({"id1", "id2", "new"}, 5);
  std::vector<uint64_t> dead;
  for (const auto& file : store.log->files()) {
    for (const uint64_t row : file->rows) {
      if (store.log->info(row)->dead) dead.push_back(row);
    }
  }
  store.log->release(dead);
  const uint64_t digest = store.log->digest();
  REQUIRE(store.log->files().size() == 2);
  Compaction compaction(store.log, 0, 1, ~uint64_t{0});
  compaction.run();
  const std::string source = compaction.sources[0]->file->path();
  compaction.swap();
  compaction.remove_sources();
  CHECK_FALSE(fs::exists(source));
  CHECK(compaction.dropped_through > 0);
  for (int round = 0; round < 2; ++round) {
    CHECK(store.log->digest() == digest);
    CHECK_FALSE(store.log->row_of("id4"));
    CHECK(store.log->read_record(*store.log->row_of("id3")) == "{\"text\":\"id3\"}");
    CHECK(store.log->read_record(*store.log->row_of("id1")) == "{\"text\":\"id1\"}");
    store.log = RecordLog::open(store.committed());
  }
}

TEST_CASE("record log: a failed append leaves the committed state") {
  const Folder folder;
  Store store(spec_for(folder.path));
  store.put({"a"}, 1);
  const LogSpec committed = store.committed();
  const std::shared_ptr<LogBatch> batch = store.log->begin(1);
  batch->stage("b", "{}");
  const std::shared_ptr<Batch> vectors = store.rows->begin();
  const std::vector<float> data = random_rows(1, 8, 1);
  vectors->push(data.data(), 1);
  REQUIRE(batch->prepare_next(vectors->first_row(), 10));
  set_file_fault(1, 28, false);
  CHECK_THROWS_AS(batch->append(vectors.get(), 2, true), Failure);
  set_file_fault(0, 0, false);
  batch->abandon();
  batch->finish();
  vectors->abort();
  CHECK(store.log->count() == 1);
  CHECK(store.log->files()[0]->file->size() == committed.files[0].length);
  store.put({"c"}, 2);
  CHECK(RecordLog::open(store.committed())->count() == 2);
}

TEST_CASE("record log: a hostile file is refused or used, and never reads out of bounds") {
  const char* given = std::getenv("HIVE_FUZZ_RUNS");
  const int runs = given == nullptr ? 1500 : std::atoi(given);
  const Folder folder;
  Store store(spec_for(folder.path, HIVE_DTYPE_I8));
  fill(&store);
  LogSpec spec = store.committed();
  spec.writable = false;
  const std::string path = store.log->path_of(spec.files[0].number);
  const std::string good = read_file(path);
  std::mt19937_64 engine(20261124);
  const auto below = [&](uint64_t n) { return engine() % n; };
  int opened = 0;
  int refused = 0;
  for (int run = 0; run < runs; ++run) {
    std::string bad = good;
    const uint64_t edits = 1 + below(4);
    for (uint64_t i = 0; i < edits; ++i) {
      const uint64_t at = below(bad.size() - 8);
      const uint64_t extreme[] = {0, 1, 0xff, 0xffff, 0x7fffffff, 0xffffffff, ~uint64_t{0},
                                  bad.size()};
      const uint64_t value = below(2) == 0 ? extreme[below(8)] : engine();
      std::memcpy(bad.data() + at / 4 * 4, &value, below(2) == 0 ? 4 : 8);
    }
    if (below(8) == 0) bad.resize(below(bad.size()));
    if (below(5) != 0) mend(&bad);
    write_file(path, bad);
    LogSpec used = spec;
    if (below(2) == 0) used.files[0].length = LogSpec::kWhole;
    used.tolerant = below(3) == 0;
    try {
      use(RecordLog::open(used), HIVE_DTYPE_I8);
      ++opened;
    } catch (const Failure& failure) {
      CHECK((failure.code() == "HIVE_CORRUPT" || failure.code() == "HIVE_FORMAT"));
      ++refused;
    }
  }
  MESSAGE("hostile files: " << runs << ", opened " << opened << ", refused " << refused);
  CHECK(opened > 0);
  CHECK(refused > 0);
}

}  // namespace hive::test
