// The JavaScript classes of the addon. Their methods are described in engine/native-types.ts.
// V8 checks the receiver of a method against its class, so a method never sees a foreign object.
#pragma once

#include "environment.h"

namespace hive::addon {

OpenOptions read_open_options(const Napi::CallbackInfo& info, size_t index);
Napi::Object describe_device(Napi::Env env, const std::string& backend, uint32_t index,
                             const hive_device_info& info);
// Numbers of the names in the .def lists; throw INVALID_ARGUMENT for others.
uint32_t find_metric(const std::string& name);
uint32_t find_dtype(const std::string& name);
const char* metric_name(uint32_t metric);
const char* dtype_name(uint32_t dtype);
Napi::Value make_result(Napi::Env env, Search& search, uint32_t k);

class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, DeviceChoice choice);
  explicit DeviceObject(const Napi::CallbackInfo& info);

 private:
  const std::shared_ptr<Runner>& runner() const;
  Napi::Value get_info(const Napi::CallbackInfo& info);
  Napi::Value get_forced(const Napi::CallbackInfo& info);
  Napi::Value get_reasons(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value health(const Napi::CallbackInfo& info);
  Napi::Value on_fallback(const Napi::CallbackInfo& info);
  Napi::Value create_collection(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<Runner> runner_;  // null once closed
  std::shared_ptr<Napi::FunctionReference> listener_;
  // Shared with the collections and snapshots made from this device: true once it was closed.
  std::shared_ptr<bool> closed_ = std::make_shared<bool>(false);
};

// What collections, batches and snapshots share.
struct Context {
  std::shared_ptr<Runner> runner;
  std::shared_ptr<Collection> collection;
  std::shared_ptr<bool> closed;

  // Throws CLOSED after the device or the collection was closed.
  void check() const;
};

class CollectionObject : public Napi::ObjectWrap<CollectionObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, Context context);
  explicit CollectionObject(const Napi::CallbackInfo& info);
  // Throws CLOSED.
  const std::shared_ptr<Collection>& shared() const {
    context_.check();
    return context_.collection;
  }

 private:
  Napi::Value get_dimensions(const Napi::CallbackInfo& info);
  Napi::Value begin(const Napi::CallbackInfo& info);
  Napi::Value snapshot(const Napi::CallbackInfo& info);
  Napi::Value restore_column(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  Context context_;
};

class BatchObject : public Napi::ObjectWrap<BatchObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, Context context);
  explicit BatchObject(const Napi::CallbackInfo& info);
  // Throws CLOSED.
  const std::shared_ptr<Batch>& shared() const {
    (void)batch();
    return batch_;
  }

 private:
  Batch& batch() const;
  Napi::Value push(const Napi::CallbackInfo& info);
  Napi::Value push_copies(const Napi::CallbackInfo& info);
  Napi::Value set_column(const Napi::CallbackInfo& info);
  Napi::Value finish(const Napi::CallbackInfo& info);
  Napi::Value try_finish(const Napi::CallbackInfo& info);
  Napi::Value commit(const Napi::CallbackInfo& info);
  Napi::Value abort(const Napi::CallbackInfo& info);

  Context context_;
  std::shared_ptr<Batch> batch_;
};

class SnapshotObject : public Napi::ObjectWrap<SnapshotObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, Context context);
  explicit SnapshotObject(const Napi::CallbackInfo& info);

 private:
  const Snapshot& snapshot() const;
  std::shared_ptr<Search> make_search(const Napi::CallbackInfo& info, uint32_t* k,
                                      std::shared_ptr<const Selection> selection);
  Napi::Value get_live_rows(const Napi::CallbackInfo& info);
  Napi::Value get_end_row(const Napi::CallbackInfo& info);
  Napi::Value try_search_inline(const Napi::CallbackInfo& info);
  Napi::Value select(const Napi::CallbackInfo& info);
  Napi::Value search(const Napi::CallbackInfo& info);
  Napi::Value explain(const Napi::CallbackInfo& info);
  Napi::Value live_rows_from(const Napi::CallbackInfo& info);
  Napi::Value read_vectors(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);

  Context context_;
  std::shared_ptr<const Snapshot> snapshot_;  // null once released
};

class SelectionObject : public Napi::ObjectWrap<SelectionObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<const Selection> selection);
  explicit SelectionObject(const Napi::CallbackInfo& info);
  // The selection of an argument; null when it is undefined.
  static std::shared_ptr<const Selection> read(const Napi::CallbackInfo& info, size_t index);

 private:
  Napi::Value get_count(const Napi::CallbackInfo& info);
  Napi::Value rows_from(const Napi::CallbackInfo& info);

  std::shared_ptr<const Selection> selection_;
};

// Creates an instance of a class of ours. JavaScript cannot: constructors want this token.
template <class T>
T* construct(Napi::Env env, const Napi::FunctionReference& constructor) {
  const Napi::Object object = constructor.New({Napi::External<T>::New(env, nullptr)});
  return Napi::ObjectWrap<T>::Unwrap(object);
}

// The other half of construct().
inline void check_token(const Napi::CallbackInfo& info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "Objects of this class are made by the engine only.");
  }
}

}  // namespace hive::addon
