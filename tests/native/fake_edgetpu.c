/* A delegate library that stands in for libedgetpu where there is no Edge TPU.
 *
 * It claims every `edgetpu-custom-op` node and computes something a test can check: of each output of n bytes the byte
 * (sum of all input bytes) mod n is 255 and the others are 0. What goes wrong is chosen by FAKE_EDGETPU:
 *
 *   null            create returns NULL, as libedgetpu does when no device answers
 *   prepare-fails   the delegate refuses the graph while the interpreter is constructed
 *   claims-nothing  the delegate takes no node
 *   invoke-fails    every invoke fails, as when the device was pulled out
 *   exit, segfault, hang   what a wrong build of libedgetpu or a stuck device does, in invoke
 *   leak            every invoke takes 16 MiB more and keeps them
 *   oom             allocates until there is no more, and dies of it as C++ code does
 *   fails-every:N   every Nth invoke fails
 *   print           every invoke prints a line to standard output and one to standard error
 *
 * Those of invoke with `:N` behind them spare the first N invokes. `@FILE` is read anew at each invoke: what the file says
 * then is done, and nothing when it is empty or not there.
 *
 * The declarations below are those parts of the interpreter's C interface for delegates that are used here, in its
 * order (TensorFlow Lite core/c/common.h; values are only ever added at the end). They suit tflite-runtime 2.14 and
 * ai-edge-litert 2.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, ERROR = 1, ALLOW_DYNAMIC_TENSORS = 1, BUILTIN_DELEGATE = 51 };

typedef struct {
  int size;
  int data[];
} IntArray;

typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  int type;
  void *data;
  IntArray *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct {
  IntArray *inputs, *outputs, *intermediates, *temporaries;
  void *user_data, *builtin_data;
  /* more follows that is not used here */
} Node;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *external;
  void *(*async_kernel)(Context *, Node *);
  uint64_t inplace_operator;
} Registration;

struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  int (*ResizeTensor)(Context *, Tensor *, IntArray *);
  void (*ReportError)(Context *, const char *, ...);
  int (*AddTensors)(Context *, int, int *);
  int (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
  int (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *, Delegate *);
  /* more follows that is not used here */
};

struct Delegate {
  void *data;
  int (*Prepare)(Context *, Delegate *);
  int (*CopyFromBufferHandle)(Context *, Delegate *, int, Tensor *);
  int (*CopyToBufferHandle)(Context *, Delegate *, int, Tensor *);
  void (*FreeBufferHandle)(Context *, Delegate *, int *);
  int64_t flags;
  void *opaque_delegate_builder;
};

static int invokes, calls;

static const char *wanted(void) {
  static char text[64];
  const char *mode = getenv("FAKE_EDGETPU");
  if (mode == NULL || mode[0] != '@') return mode;
  FILE *file = fopen(mode + 1, "r");
  size_t length = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
  if (file != NULL) fclose(file);
  text[length] = 0;
  return text;
}

static bool asked(const char *what) {
  const char *mode = wanted();
  return mode != NULL && strcmp(mode, what) == 0;
}

static bool now(const char *what) {
  const char *mode = wanted();
  if (mode == NULL || strncmp(mode, what, strlen(what)) != 0) return false;
  const char *count = mode + strlen(what);
  return *count == 0 || (*count == ':' && invokes >= atoi(count + 1));
}

static int kernel_prepare(Context *context, Node *node) {
  (void)context;
  (void)node;
  return OK;
}

static int kernel_invoke(Context *context, Node *node) {
  if (now("exit")) _exit(7);
  if (now("segfault")) raise(SIGSEGV);
  while (now("hang")) pause();
  if (now("print")) {
    puts("printed to standard output");
    fflush(stdout);
    fputs("printed to standard error\n", stderr);
  }
  if (now("leak")) {
    size_t size = 16 << 20;
    memset(malloc(size), 1, size);
  }
  while (now("oom")) {
    size_t size = 64 << 20;
    void *more = malloc(size);
    if (more == NULL) abort();
    memset(more, 1, size);
  }
  const char *mode = wanted();
  if (mode != NULL && strncmp(mode, "fails-every:", 12) == 0 && ++calls % atoi(mode + 12) == 0) {
    context->ReportError(context, "the device was lost");
    return ERROR;
  }
  if (now("invoke-fails")) {
    context->ReportError(context, "the device was lost");
    return ERROR;
  }
  invokes++;
  uint64_t sum = 0;
  for (int i = 0; i < node->inputs->size; i++) {
    const Tensor *input = &context->tensors[node->inputs->data[i]];
    for (size_t b = 0; b < input->bytes; b++) sum += ((const uint8_t *)input->data)[b];
  }
  for (int i = 0; i < node->outputs->size; i++) {
    Tensor *output = &context->tensors[node->outputs->data[i]];
    memset(output->data, 0, output->bytes);
    ((uint8_t *)output->data)[sum % output->bytes] = 255;
  }
  return OK;
}

static int delegate_prepare(Context *context, Delegate *delegate) {
  if (asked("prepare-fails")) {
    context->ReportError(context, "the device does not take this graph");
    return ERROR;
  }
  IntArray *plan;
  if (context->GetExecutionPlan(context, &plan) != OK) return ERROR;
  IntArray *claimed = calloc(1, sizeof(IntArray) + (size_t)plan->size * sizeof(int));
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *operation;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &operation) != OK) return ERROR;
    const char *name = operation->custom_name;
    if (name != NULL && strcmp(name, "edgetpu-custom-op") == 0 && !asked("claims-nothing"))
      claimed->data[claimed->size++] = plan->data[i];
  }
  Registration kernel = {
      .prepare = kernel_prepare,
      .invoke = kernel_invoke,
      .builtin_code = BUILTIN_DELEGATE,
      .custom_name = "FakeEdgeTpu",
      .version = 1,
  };
  int status = OK;
  if (claimed->size > 0)
    status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, claimed, delegate);
  free(claimed);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  (void)keys;
  (void)values;
  (void)count;
  if (asked("null")) {
    report("no device answers");
    return NULL;
  }
  Delegate *delegate = calloc(1, sizeof(Delegate));
  delegate->Prepare = delegate_prepare;
  delegate->flags = ALLOW_DYNAMIC_TENSORS;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
