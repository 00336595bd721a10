// Where the walks of alike_gradient.cuh, and what they leave for each other, lie.
#ifndef SL_ALIKE_GRADIENT_PLACES_CUH
#define SL_ALIKE_GRADIENT_PLACES_CUH

namespace sl_alike_gradients {

// A call. Outputs of the last tokens of a sequence, which no copy may write, are written one by one.
typedef struct {
  int64_t batch, length, query_heads, heads, sequences, slots;
  int layout;
  const int64_t *cu_seqlens;
  char *workspace;
  const float *gate, *initial, *d_final;
  float *d_gate, *d_initial;
  uint16_t *d_q, *d_k, *d_v;
} sl_call;

// A launch: the query head of each head's, the part of the keys; how many of its blocks, the first ones,
// walk for dq and dk.
typedef struct {
  int query, part, key_walks;
} sl_launch;

enum {
  // Floats of a walk's state; segments of which a sum is left.
  sl_key_state = 2 * SL_WALK_PART_PANELS * 64 * 64,
  sl_value_state = 2 * SL_WALK_KEY_PANELS * 64 * 64,
  sl_summed = SL_WALK_SEGMENTS - 1,
  // Tiles of 128 keys, and of values, that walks have.
  sl_key_tiles = (SL_WALK_OWN_KEYS + 127) / 128,
  sl_value_tiles = (SL_WALK_OWN_VALUES + 127) / 128,
};

// What is kept of chunks in the workspace; and of segments but the last, what they add to states.
typedef struct {
  float *query_parts, *key_parts, *value_parts, *query_sums, *key_sums, *added, *decays;
} sl_room;

SL_WORD sl_room sl_room_of(const sl_call &call) {
  const int64_t tiles = call.slots * call.heads * 2;
  const int64_t of_keys = tiles * sl_key_tiles, of_values = tiles * sl_value_tiles;
  const int is_grouped = call.query_heads > call.heads, is_parted = SL_WALK_PARTS > 1;
  sl_room room;
  room.query_parts = (float *)call.workspace;
  room.key_parts = room.query_parts + (is_parted ? of_keys * sl_tile_parts : 0);
  room.value_parts = room.key_parts + (is_parted || is_grouped ? of_keys * sl_tile_parts : 0);
  room.query_sums = room.value_parts + (is_grouped ? of_values * sl_tile_parts : 0);
  room.key_sums = room.query_sums + SL_WALK_GATED * of_keys * sl_chunk_sums;
  room.added = room.key_sums + SL_WALK_GATED * of_keys * sl_chunk_sums;
  room.decays =
      room.added
      + call.sequences * call.heads * sl_summed
            * (2 * sl_key_tiles * sl_key_state + sl_value_tiles * sl_value_state);
  return room;
}

SL_WORD int64_t sl_begin_of(const sl_call &call, int64_t sequence) {
  return call.cu_seqlens ? call.cu_seqlens[sequence] : 0;
}
SL_WORD int64_t sl_end_of(const sl_call &call, int64_t sequence) {
  return sl_end_of_tokens(call.cu_seqlens, sequence, call.length);
}
// The first slot of a sequence's chunks, and the sequence that a slot belongs to.
SL_WORD int64_t sl_slot_of(const sl_call &call, int64_t sequence) {
  return (call.cu_seqlens ? call.cu_seqlens[sequence] : sequence * call.length) / 64 + sequence;
}
SL_WORD int64_t sl_sequence_of(const sl_call &call, int64_t slot) {
  int64_t first = 0, last = call.sequences - 1;
  while (first < last) {
    const int64_t middle = (first + last + 1) / 2;
    if (sl_slot_of(call, middle) <= slot) first = middle;
    else last = middle - 1;
  }
  return first;
}
// The row of a token and head among all.
SL_WORD int64_t sl_row_of(
    const sl_call &call, int64_t batch, int64_t token, int64_t head, int64_t heads) {
  return call.layout ? (batch * heads + head) * call.length + token
                     : (batch * call.length + token) * heads + head;
}

// A walk for dv: all keys, 128 values.
SL_WORD void sl_find_value_walk(
    sl_walk *const walk, const sl_call &call, const sl_launch &launch, const sl_room &room,
    int64_t row, int64_t place, int64_t state) {
  const int is_first = launch.query == 0;
  walk->queries = sl_of_k, walk->keys = sl_of_q, walk->values = walk->partners = sl_of_d_o;
  walk->outputs = sl_of_d_v;
  walk->column = 0;
  walk->own_keys = SL_WALK_OWN_KEYS, walk->own_values = SL_WALK_OWN_VALUES - walk->value;
  walk->key_step = SL_WALK_OWN_VALUES, walk->value_step = 1;
  state += walk->value;
  walk->initial = is_first && call.d_final ? call.d_final + state : NULL;
  walk->final = call.d_initial ? call.d_initial + state : NULL;
  walk->adds_final = walk->adds = !is_first;
  walk->keeps = launch.query < (int)(call.query_heads / call.heads) - 1;
  walk->parts = room.value_parts + place * sl_tile_parts;
  walk->output = call.d_v + row * SL_WALK_OWN_VALUES + walk->value;
  walk->output_step = SL_WALK_OWN_VALUES * (call.layout ? 1 : (int)call.heads);
}

// A walk for dq or, back in time, for dk: a part of the values as its keys, and 128 keys as its values.
SL_WORD void sl_find_key_walk(
    sl_walk *const walk, const sl_call &call, const sl_launch &launch, const sl_room &room,
    const int back, int64_t row, int64_t query_row, int64_t place, int64_t state) {
  const int is_last = launch.part == SL_WALK_PARTS - 1, is_first = launch.query == 0;
  walk->column = 64 * SL_WALK_PART_PANELS * launch.part;
  walk->own_keys = SL_WALK_OWN_VALUES - walk->column;
  walk->own_values = SL_WALK_OWN_KEYS - walk->value;
  walk->key_step = 1, walk->value_step = SL_WALK_OWN_VALUES;
  // All query heads' walks back end in one state.
  const float *const initial = !back ? call.initial : is_first ? call.d_final : NULL;
  state += (int64_t)walk->value * SL_WALK_OWN_VALUES + walk->column;
  walk->initial = initial ? initial + state : NULL;
  walk->adds = launch.part > 0 || (back && !is_first);
  walk->keeps = !is_last;
  const int64_t own_row = back ? row : query_row;
  const int heads = (int)(back ? call.heads : call.query_heads);
  if (back) {
    walk->queries = sl_of_v, walk->keys = sl_of_d_o, walk->values = sl_of_q;
    walk->partners = sl_of_k, walk->outputs = sl_of_d_k;
    if (launch.query < (int)(call.query_heads / call.heads) - 1) walk->keeps = 1;
  } else {
    walk->queries = sl_of_d_o, walk->keys = sl_of_v, walk->values = sl_of_k;
    walk->partners = sl_of_q, walk->outputs = sl_of_d_q;
  }
  walk->parts = (back ? room.key_parts : room.query_parts) + place * sl_tile_parts;
  walk->output = (back ? call.d_k : call.d_q) + own_row * SL_WALK_OWN_KEYS + walk->value;
  walk->output_step = SL_WALK_OWN_KEYS * (call.layout ? 1 : heads);
#if SL_WALK_GATED
  walk->sums = (back ? room.key_sums : room.query_sums) + place * sl_chunk_sums;
  walk->adds_sums = launch.part > 0 || !is_first;
  // All query heads have one final state.
  if (!back && is_first && call.d_final) walk->met = call.d_final + state;
#endif
}

// A segment of a walk, of which there are so many in all.
SL_WORD void sl_find_segment(
    sl_walk *const walk, const sl_call &call, const sl_room &room, const int segment,
    const int of_values, const int64_t index) {
  const int64_t key_walks = call.sequences * call.heads * (2 * sl_key_tiles);
  const int begin = (int)((int64_t)walk->count * segment / SL_WALK_SEGMENTS);
  const int end = (int)((int64_t)walk->count * (segment + 1) / SL_WALK_SEGMENTS);
  walk->segment = segment;
  walk->first += walk->step * begin;
  walk->count = end - begin;
  walk->added =
      room.added
      + (of_values ? key_walks * sl_key_state + index * sl_value_state : index * sl_key_state)
            * sl_summed;
  walk->decays = room.decays + ((of_values ? key_walks : 0) + index) * sl_summed;
  // The last one has its walk's end.
  if (segment < sl_summed) walk->final = NULL, walk->met = NULL;
}

// The walk of a block: those for dq and dk side by side, then those for dv; so many segments of each.
SL_WORD void sl_find_walk(
    sl_walk *const walk, const sl_call &call, const sl_launch &launch, int block,
    const int segments) {
  const int of_values = block >= launch.key_walks;
  if (of_values) block -= launch.key_walks;
  const int segment = block % segments;
  block /= segments;
  const int64_t index = block;
  const int back = of_values || block % 2;
  if (!of_values) block /= 2;
  const int tiles = of_values ? sl_value_tiles : sl_key_tiles, tile = block % tiles;
  const int64_t item = block / tiles, head = item % call.heads, sequence = item / call.heads;
  const int64_t query = head * (call.query_heads / call.heads) + launch.query;
  const sl_room room = sl_room_of(call);
  walk->batch = call.cu_seqlens ? 0 : (int)sequence;
  walk->begin = (int)sl_begin_of(call, sequence);
  walk->length = (int)sl_end_of(call, sequence) - walk->begin;
  walk->count = (walk->length + 63) / 64;
  walk->step = back ? -1 : 1;
  walk->first = back ? walk->count - 1 : 0;
  walk->value = 128 * tile;
  walk->chunk_step = call.heads * 2 * tiles;
  walk->initial = walk->met = NULL, walk->final = NULL, walk->sums = NULL;
  walk->adds_final = walk->adds_sums = 0;
  const int64_t row = sl_row_of(call, walk->batch, walk->begin, head, call.heads);
  const int64_t query_row = sl_row_of(call, walk->batch, walk->begin, query, call.query_heads);
  walk->gate = call.gate ? call.gate + row : NULL;
  walk->gate_step = call.layout ? 1 : (int)call.heads;
  // k and v are the head's, q and dO the query head's.
  walk->query_head = walk->output_head = walk->partner_head = (int)head;
  walk->key_head = walk->value_head = (int)query;
  if (!back) {
    walk->query_head = walk->output_head = walk->partner_head = (int)query;
    walk->key_head = walk->value_head = (int)head;
  }
  const int64_t place = (sl_slot_of(call, sequence) * call.heads + head) * 2 * tiles + 2 * tile;
  const int64_t state = item * (int64_t)(SL_WALK_OWN_KEYS * SL_WALK_OWN_VALUES);
  if (of_values) sl_find_value_walk(walk, call, launch, room, row, place, state);
  else sl_find_key_walk(walk, call, launch, room, back, row, query_row, place, state);
  if (SL_WALK_SEGMENTS > 1) sl_find_segment(walk, call, room, segment, of_values, index);
}

}  // namespace sl_alike_gradients

#endif
