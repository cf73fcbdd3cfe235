/*
 * hive_backend.h - the C ABI between native/core and a backend.
 *
 * A backend is a table of functions that keeps rows in the memory of its devices and answers
 * coarse operations on them. It lives in a library of its own (cpu is linked into the addon) and
 * knows nothing of records, ids, files or JavaScript.
 *
 * Contract
 *   - Every struct begins with struct_size, set by whoever fills the struct. A reader must not
 *     touch a field that lies beyond it. Fields are only ever appended; numbers are never reused.
 *   - No function throws, prints, aborts or exits. Every function returns a status of
 *     hive_status.def; when it is not OK, the caller's hive_error (may be NULL) gets one sentence.
 *   - Memory is assumed to be separate: a backend may not dereference a pointer of the caller after
 *     the call returned, except where a field says for how long it stays valid.
 *   - Threads: the functions of one device may be called from any thread, several at a time.
 *     Only close/free of an object must not race with other calls that use that object.
 *   - Nothing is unloaded: a table stays valid until the process ends.
 *
 * Words: a row is stored at a slot (32-bit position) of a segment; slots are filled in order and
 * never change. A bitset has one bit per slot, bit s at word s / 32, position s % 32.
 */
#ifndef HIVE_BACKEND_H
#define HIVE_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define HIVE_NOEXCEPT noexcept
extern "C" {
#else
#define HIVE_NOEXCEPT
#endif

#if defined(_WIN32)
#define HIVE_EXPORT __declspec(dllexport)
#else
#define HIVE_EXPORT __attribute__((visibility("default")))
#endif

/* Incremented when a change is not additive. The loader refuses any other number. */
#define HIVE_BACKEND_ABI 1u

/* ---- enumerations, expanded from the lists ------------------------------------------------ */

typedef int32_t hive_status;
enum {
#define HIVE_STATUS(NAME, number, scope, retryable) HIVE_##NAME = number,
#include "hive_status.def"
#undef HIVE_STATUS
};

enum {
#define HIVE_METRIC(NAME, name, number, greater) HIVE_METRIC_##NAME = number,
#include "hive_metrics.def"
#undef HIVE_METRIC
    HIVE_METRIC_COUNT
};

enum {
#define HIVE_DTYPE(NAME, name, number, bytes, scale) HIVE_DTYPE_##NAME = number,
#include "hive_dtypes.def"
#undef HIVE_DTYPE
    HIVE_DTYPE_COUNT
};

enum {
#define HIVE_OP(NAME, name, number) HIVE_OP_##NAME = number,
#include "hive_ops.def"
#undef HIVE_OP
    HIVE_OP_COUNT
};

enum {
#define HIVE_PREDICATE(NAME, name, number, pops, pushes) HIVE_PREDICATE_##NAME = number,
#include "hive_predicates.def"
#undef HIVE_PREDICATE
    HIVE_PREDICATE_COUNT
};

/* ---- opaque objects, owned by the backend ------------------------------------------------- */

typedef struct hive_device hive_device;   /* an opened device */
typedef struct hive_segment hive_segment; /* rows of one dimension and dtype on one device */
typedef struct hive_bits hive_bits;       /* an immutable bitset over a segment's slots */
typedef struct hive_ticket hive_ticket;   /* work under way */
typedef struct hive_column hive_column;   /* immutable values of one metadata path, one per slot */

/* ---- structs ------------------------------------------------------------------------------ */

/* Filled by a function that did not return OK: one English sentence, NUL-terminated, that names
 * what was wrong; where the user can do something, what. */
typedef struct hive_error {
    uint32_t struct_size;
    char message[508];
} hive_error;

/* What a backend can say before a device is opened. */
typedef struct hive_probe_report {
    uint32_t struct_size;
    uint32_t device_count; /* usable devices; 0 when status is not OK */
    int32_t status;        /* OK, DRIVER_MISSING, DRIVER_TOO_OLD or NO_DEVICE */
    char version[64];      /* driver or runtime version as the vendor writes it; "" if unknown */
    char detail[440];      /* why status is not OK and what to do; "" when it is OK */
} hive_probe_report;

enum {
    HIVE_DEVICE_CPU = 0,        /* host processor */
    HIVE_DEVICE_INTEGRATED = 1, /* GPU that shares the host's memory */
    HIVE_DEVICE_DISCRETE = 2,   /* GPU with memory of its own */
    HIVE_DEVICE_SOFTWARE = 3    /* GPU interface emulated on the host */
};

/* Capabilities of a device. */
enum {
    /* Reads rows in place through hive_segment_desc.host_*; segment_append only marks them. */
    HIVE_CAP_HOST_MEMORY = 1u << 0,
    /* Calls hive_job.notify. Without it the caller has to poll or wait. */
    HIVE_CAP_NOTIFY = 1u << 1,
    /* May take subnormal f32 operands and results for 0 (below 2^-126). Values may then be further
     * from other backends' by 2^-126 * sum(3 + |x| + |y|) over the elements, for cosine times both
     * inverse norms: nothing that shows unless elements or products are that small. */
    HIVE_CAP_FLUSHES = 1u << 2
};

typedef struct hive_device_info {
    uint32_t struct_size;
    uint32_t kind;                /* HIVE_DEVICE_* */
    uint32_t caps;                /* HIVE_CAP_* */
    uint32_t compute_units;       /* threads, multiprocessors or equivalent */
    uint32_t vendor_id;           /* PCI vendor id; 0 when there is none */
    uint32_t max_k;               /* greatest k of one job */
    uint64_t memory_total_bytes;  /* memory a device can hold rows in */
    uint64_t max_segment_bytes;   /* greatest capacity_rows * row bytes of one segment */
    char name[128];               /* as the vendor writes it */
    char vendor[64];
    char driver[64];              /* driver version, or the instruction set for a CPU */
    char bus_id[32];              /* PCI bus id; "" when there is none */
} hive_device_info;

enum { HIVE_LOG_DEBUG = 0, HIVE_LOG_INFO = 1, HIVE_LOG_WARN = 2 };

struct hive_backend_table;

typedef struct hive_open_options {
    uint32_t struct_size;
    /* Threads the backend may use for computing on the host; 0 = as many as the process may use. */
    uint32_t host_threads;
    /* Backend-specific settings "key=value;key=value", NUL-terminated; NULL or "" = defaults. */
    const char* config;
    /* The table to forward to, for a backend that wraps another; NULL for every other backend. */
    const struct hive_backend_table* inner;
    /* Called from any thread; must not be called after the function it happens in returned an
     * error that closed the object. NULL = no log. */
    void (*log)(void* log_ctx, int32_t level, const char* message);
    void* log_ctx;
} hive_open_options;

/* The op descriptor supports() decides on. */
typedef struct hive_op_desc {
    uint32_t struct_size;
    uint32_t op;     /* HIVE_OP_* */
    uint32_t metric; /* HIVE_METRIC_* */
    uint32_t dtype;  /* HIVE_DTYPE_* */
    uint32_t dim;
    uint32_t k;
    uint32_t query_count;
} hive_op_desc;

typedef struct hive_segment_desc {
    uint32_t struct_size;
    uint32_t dim;           /* elements per row, 1 .. 65 536 */
    uint32_t dtype;         /* HIVE_DTYPE_* */
    uint32_t capacity_rows; /* greatest number of rows, 1 .. 2^31 - 1; memory is reserved for all */
    /* For a device with HIVE_CAP_HOST_MEMORY: where rows will appear, each area valid and with
     * stable address until segment_free; rows that were appended never change. Row r is at
     * host_data + r * dim * bytes_per_element (no padding), its scale at host_scales[r] (dtypes
     * with a row scale; else NULL), its inverse norm at host_inv_norms[r]. host_data is 64-byte
     * aligned. NULL for every other device. */
    const void* host_data;
    const float* host_scales;
    const float* host_inv_norms;
} hive_segment_desc;

/* Rows to append. The pointers stay valid until the returned ticket has finished. */
typedef struct hive_rows {
    uint32_t struct_size;
    uint32_t first_slot; /* must equal the number of rows appended before */
    uint32_t count;      /* >= 1 */
    const void* data;    /* [count][dim] elements of the segment's dtype, row-major, no padding */
    const float* scales; /* [count], dtypes with a row scale; else NULL */
    /* [count] 1 / l2-norm of the stored row, from f64, rounded once; 0 for a row whose norm is
     * below 1e-30. A backend never computes it again. */
    const float* inv_norms;
} hive_rows;

/* Header of every job. */
typedef struct hive_job {
    uint32_t struct_size; /* of the whole job struct */
    uint32_t op;          /* HIVE_OP_* : which struct this is the head of */
    /* With HIVE_CAP_NOTIFY: called exactly once, when the ticket has finished (or was cancelled)
     * and all outputs are written, from a thread of the backend, possibly before submit returned.
     * It must not block and may call ticket functions except ticket_free. NULL = not called. */
    void (*notify)(void* notify_ctx, hive_ticket* ticket, hive_status status);
    void* notify_ctx;
} hive_job;

typedef struct hive_scan_segment {
    hive_segment* segment;
    /* Slots [0, row_count) are searched; at most what was appended before submit. */
    uint32_t row_count;
    uint32_t reserved;
    /* A slot is searched when it is set in both. A bitset may be shorter than row_count: slots
     * beyond its end count as set. NULL = all set. Valid until the ticket has finished. */
    const hive_bits* live;
    const hive_bits* filter;
    /* Hints; fields from here on exist when hive_scan_job.segment_size reaches them.
     * slots: exactly the slots set in live and filter, ascending [slot_count], for gathering rows
     * instead of reading tiles; host memory, valid until the ticket has finished. NULL = not given.
     * passing: how many slots are set in live and filter; UINT32_MAX = unknown. */
    const uint32_t* slots;
    uint32_t slot_count;
    uint32_t passing;
} hive_scan_segment;

/* One result. Where it came from is the index in hive_scan_job.segments plus the slot in it. */
typedef struct hive_hit {
    float value; /* the metric's native value, never NaN, -0 written as 0 */
    uint32_t segment;
    uint32_t slot;
} hive_hit;

/*
 * HIVE_OP_SCAN_TOPK: for each query the k closest rows of all the segments, exactly.
 *
 * Value of a (query, row) pair, the same on every backend: decode the row to f32 (hive_dtypes.def),
 * then 32 virtual lanes start at 0 and take element i in lane i % 32, in ascending i, with
 *   cosine, dot: lane = fma(x, y, lane)          l2: d = x - y, lane = fma(d, d, lane)
 *   l1: lane = lane + |x - y|                    linf: lane = max(lane, |x - y|)
 * then lane[j] += lane[j + w] (linf: max) for w = 16, 8, 4, 2, 1; the value is lane[0]; for cosine
 * (lane[0] * inv_norm of the row) * inv_norm of the query. Every operation is one correctly rounded
 * f32 operation. Two backends may differ by at most 1e-5 * max(|value|, sum of |terms|).
 *
 * Order: closer first (hive_metrics.def), ties by (segment, slot) ascending. A backend may select
 * with cheaper arithmetic if the returned set and order are those of the values above.
 *
 * All pointers stay valid until the ticket has finished. The segments are listed in the order that
 * decides ties, all with the same dim and dtype.
 */
typedef struct hive_scan_job {
    hive_job head;
    uint32_t metric;
    uint32_t dim;
    uint32_t query_count; /* >= 1 */
    uint32_t k;           /* >= 1, <= max_k */
    const float* queries; /* [query_count][dim], row-major; finite */
    /* [query_count] as for rows; read for cosine only. */
    const float* query_inv_norms;
    uint32_t segment_count; /* may be 0: no hits */
    uint32_t segment_size;  /* sizeof(hive_scan_segment) of the caller: the stride of segments */
    const hive_scan_segment* segments;
    hive_hit* hits;       /* out [query_count][k] */
    uint32_t* hit_counts; /* out [query_count], min(k, rows searched) */
} hive_scan_job;

/* ---- columns and predicates: metadata filters on the device -------------------------------- */

/* How a column's values are stored, little endian. Whoever makes a column chooses the narrowest
 * encoding that keeps the order of the values: integers minus a base, dictionary codes, or keys. */
enum {
    HIVE_COLUMN_U8 = 0,       /* [row_count] bytes */
    HIVE_COLUMN_U16 = 1,      /* [row_count] */
    HIVE_COLUMN_U32 = 2,      /* [row_count] */
    HIVE_COLUMN_U64 = 3,      /* [row_count] pairs of u32, low word first */
    HIVE_COLUMN_PRESENCE = 4, /* no values: only which slots are set */
    HIVE_COLUMN_LIST = 5,     /* slot s has values[offsets[s] .. offsets[s + 1]), u32 each */
    HIVE_COLUMN_ENCODING_COUNT = 6
};

/* A column covers the slots [0, row_count) of one segment; slots beyond have no value. The bytes of
 * a slot without a value are unspecified. */
typedef struct hive_column_desc {
    uint32_t struct_size;
    uint32_t encoding;    /* HIVE_COLUMN_* */
    uint32_t row_count;   /* >= 1 */
    uint32_t value_count; /* LIST: offsets[row_count]; else row_count */
    const void* values;   /* as above; NULL for PRESENCE */
    const uint32_t* offsets; /* LIST: [row_count + 1], ascending from 0; else NULL */
    /* Bitset of the slots that have a value, (row_count + 31) / 32 words; NULL = all of them. */
    const uint32_t* valid;
} hive_column_desc;

/* One instruction of a predicate, 16 bytes. What a, b and c mean is in hive_predicates.def. */
typedef struct hive_predicate_op {
    uint16_t opcode; /* HIVE_PREDICATE_* */
    uint16_t column; /* index in hive_predicate_segment.columns */
    uint32_t a, b, c;
} hive_predicate_op;

/* Greatest number of bitsets on the stack of a valid program. */
enum { HIVE_PREDICATE_STACK = 16 };

/* A program and the columns it reads. Programs differ from segment to segment, because bounds are
 * given in the encoding of each segment's columns. */
typedef struct hive_predicate_segment {
    uint32_t row_count; /* slots [0, row_count) are decided */
    uint32_t op_count;  /* >= 1; leaves exactly one bitset on the stack */
    const hive_predicate_op* ops;
    uint32_t column_count;
    uint32_t reserved;
    const hive_column* const* columns; /* [column_count] */
    const hive_bits* live;             /* NULL = all; only passing is counted with it */
    /* out: a new bitset of row_count slots, the caller's to free (bits_free). Set only when the
     * ticket ends OK. NULL = not wanted. */
    hive_bits** filter;
    uint32_t* words;   /* out [(row_count + 31) / 32], spare bits 0; NULL = not wanted */
    uint32_t* passing; /* out: slots set in the result and in live; NULL = not wanted */
} hive_predicate_segment;

/*
 * HIVE_OP_PREDICATE: evaluates a postfix program over columns, slot by slot, to a bitset of each
 * segment. Every instruction treats all slots alike, so nothing diverges. There is no third truth
 * value: an instruction that reads a column is 0 for a slot without a value.
 *
 * All pointers stay valid until the ticket has finished. In hive_op_desc only op is looked at.
 */
typedef struct hive_predicate_job {
    hive_job head;
    uint32_t segment_count;
    uint32_t segment_size; /* sizeof(hive_predicate_segment) of the caller */
    const hive_predicate_segment* segments;
    const uint32_t* words; /* constants that instructions refer to; shared by all segments */
    uint32_t word_count;
    uint32_t reserved;
} hive_predicate_job;

typedef struct hive_memory_info {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t total_bytes; /* memory of the device */
    uint64_t free_bytes;  /* what an allocation may still get; an estimate */
    uint64_t used_bytes;  /* taken by segments, bitsets and columns of this opened device */
} hive_memory_info;

typedef struct hive_health {
    uint32_t struct_size;
    int32_t status; /* OK, DEVICE_LOST or DEVICE_POISONED */
    uint64_t jobs_submitted;
    uint64_t jobs_finished; /* OK, failed or cancelled */
    uint64_t jobs_failed;
    uint64_t rows_scanned; /* sum over jobs of query_count * rows whose bits are set */
    char detail[472];
} hive_health;

/* ---- the table ---------------------------------------------------------------------------- */

typedef struct hive_backend_table {
    uint32_t struct_size;
    uint32_t abi;     /* HIVE_BACKEND_ABI */
    const char* name; /* as in hive_backends.def, static */

    /* Describes device index (0 .. device_count - 1) without opening it. */
    hive_status (*device_info)(uint32_t index, hive_device_info* out, hive_error* err) HIVE_NOEXCEPT;
    /* Opens a device. May be called several times; each result is independent. options as for
     * hive_backend_open; NULL = defaults. */
    hive_status (*device_open)(uint32_t index, const hive_open_options* options, hive_device** out,
                               hive_error* err) HIVE_NOEXCEPT;
    /* Frees everything the device still owns. No ticket may be unfinished. */
    void (*device_close)(hive_device* device) HIVE_NOEXCEPT;

    /* OK, or UNSUPPORTED with the reason in err. */
    hive_status (*supports)(hive_device* device, const hive_op_desc* op, hive_error* err)
        HIVE_NOEXCEPT;

    /* Reserves memory for capacity_rows. DEVICE_OUT_OF_MEMORY leaves everything as it was. */
    hive_status (*segment_create)(hive_device* device, const hive_segment_desc* desc,
                                  hive_segment** out, hive_error* err) HIVE_NOEXCEPT;
    /* Starts to copy rows into the segment. Jobs submitted after this call see them; the ticket
     * only says when the source may be reused. */
    hive_status (*segment_append)(hive_device* device, hive_segment* segment, const hive_rows* rows,
                                  hive_ticket** out, hive_error* err) HIVE_NOEXCEPT;
    /* Returns the memory. No unfinished ticket may use the segment. */
    void (*segment_free)(hive_device* device, hive_segment* segment) HIVE_NOEXCEPT;

    /* Copies bit_count bits ((bit_count + 31) / 32 words; spare bits are ignored) before it
     * returns. */
    hive_status (*bits_create)(hive_device* device, const uint32_t* words, uint32_t bit_count,
                               hive_bits** out, hive_error* err) HIVE_NOEXCEPT;
    void (*bits_free)(hive_device* device, hive_bits* bits) HIVE_NOEXCEPT;

    /* Checks and starts a job; never waits for the device. When it does not return OK, there is no
     * ticket and notify was not and will not be called. */
    hive_status (*submit)(hive_device* device, const hive_job* job, hive_ticket** out,
                          hive_error* err) HIVE_NOEXCEPT;
    /* PENDING, or the final status of the work. */
    hive_status (*poll)(hive_device* device, hive_ticket* ticket, hive_error* err) HIVE_NOEXCEPT;
    /* As poll, but waits up to timeout_us (UINT64_MAX = without limit) for the final status. */
    hive_status (*wait)(hive_device* device, hive_ticket* ticket, uint64_t timeout_us,
                        hive_error* err) HIVE_NOEXCEPT;
    /* Asks the work to stop soon. The final status becomes CANCELLED unless it had finished. */
    void (*cancel)(hive_device* device, hive_ticket* ticket) HIVE_NOEXCEPT;
    /* Frees a ticket; waits for its work (and its notify call) when that has not finished. */
    void (*ticket_free)(hive_device* device, hive_ticket* ticket) HIVE_NOEXCEPT;

    hive_status (*memory_info)(hive_device* device, hive_memory_info* out, hive_error* err)
        HIVE_NOEXCEPT;
    /* Never fails; cheap; may be called on a lost device. */
    void (*health)(hive_device* device, hive_health* out) HIVE_NOEXCEPT;

    /* Slots from here on are optional: NULL, or beyond the table's struct_size, means that the
     * device has no columns and no HIVE_OP_PREDICATE. */

    /* Copies a column to the device before it returns; a device with HIVE_CAP_HOST_MEMORY may read
     * it in place instead, so its pointers stay valid until column_free. */
    hive_status (*column_create)(hive_device* device, const hive_column_desc* desc,
                                 hive_column** out, hive_error* err) HIVE_NOEXCEPT;
    /* Returns the memory. No unfinished ticket may use the column. */
    void (*column_free)(hive_device* device, hive_column* column) HIVE_NOEXCEPT;
} hive_backend_table;

/* ---- the exports of a backend library ----------------------------------------------------- */

typedef uint32_t (*hive_backend_abi_fn)(void);
typedef hive_status (*hive_backend_probe_fn)(const hive_open_options* options,
                                             hive_probe_report* out);
typedef hive_status (*hive_backend_open_fn)(const hive_open_options* options,
                                            const hive_backend_table** out, hive_error* err);

/* A library exports these three names:
 *   hive_backend_abi    HIVE_BACKEND_ABI it was built for; called before anything else.
 *   hive_backend_probe  looks for driver and devices; opens nothing that stays open; OK when the
 *                       report was filled, whatever the report says.
 *   hive_backend_open   gives the table; its options are defaults for device_open.
 */

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* HIVE_BACKEND_H */
