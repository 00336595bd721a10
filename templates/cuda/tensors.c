// Descriptions of token tensors for the card's copies, made by the driver for each call.

typedef struct {
  _Alignas(64) uint64_t words[16];
} tensor;

// Describes [batch, token, head, column] in the layout of the arguments, of elements of `type`
// (CUtensorMapDataType) and `size` bytes, in boxes of 64 tokens and `box` columns, which are
// swizzled where they take 128 or 64 bytes. A tensor without rows is described as one row, never touched.
static int32_t describe_tensor(
    tensor *to, const void *data, int type, uint64_t size, uint64_t columns, uint64_t heads,
    unsigned box, const arguments *args) {
  const uint64_t tokens = args->length ? (uint64_t)args->length : 1;
  const uint64_t batch = args->batch ? (uint64_t)args->batch : 1, row = columns * size;
  const uint64_t sizes[] = {columns, heads, tokens, batch};
  const uint64_t steps[] = {
      args->layout ? row * tokens : row, args->layout ? row : row * heads, row * heads * tokens};
  const unsigned boxes[] = {box, 1, 64, 1}, every[] = {1, 1, 1, 1};
  if ((uintptr_t)data % 16) return 6;
  const int swizzle = box * size == 128 ? 3 : box * size == 64 ? 2 : 0;
  // No interleaving; swizzles of 128 bytes (3) or 64 (2); 2: 128 bytes at a time into the second-level cache.
  int code = driver.encode(
      to, type, 4, (void *)data, sizes, steps, boxes, every, 0, swizzle, 2, 0);
  problem_seen.code = code;
  return code ? driver_failed : 0;
}
