import Recurrences
import Schedules
import TileIR

/// The kernel that makes values ready where they have gates, between the other two of
/// `warpgroup-prepared`: what the words of `templates/cuda/prepared_values.cuh` are told.
extension PreparedEmitter {
  /// Panels of 64 values in the workspace; threads of a block, which make two values each ready, and such
  /// blocks for a chunk; bytes of a chunk's operands, and of what adds to its output.
  var valuePanels: Int { tiles * groups }
  var valueThreads: Int { min(128, 32 * valuePanels) }
  var valueBlocks: Int { (32 * valuePanels + valueThreads - 1) / valueThreads }
  var valueBytes: Int { valuePanels * (2 * Self.panel + 256) }
  var readBytes: Int { valuePanels * 64 * 64 * 8 }
  var valueMemory: Int { 64 * 64 * 4 + (64 + 4) * 4 * 2 * valueThreads }

  /// What the template is told.
  var valueSettings: String {
    """
    #define SL_VALUE_PANELS \(valuePanels)
    #define SL_VALUE_THREADS \(valueThreads)

    """
  }

  /// Where a chunk's values lie in the workspace.
  func valuePlaces(_ out: inout CWriter) {
    out.lines([
      "// A chunk's v^ and E, and its w and r.",
      "SL_WORD char *values_of(const arguments *args, int64_t slot, int64_t head) {",
      "  return keys_of(args, chunk_slots(args), 0)",
      "      + (slot * args->heads + head) * (int64_t)\(valueBytes);",
      "}",
      "SL_WORD char *read_of(const arguments *args, int64_t slot, int64_t head) {",
      "  return values_of(args, chunk_slots(args), 0)",
      "      + (slot * args->query_heads + head) * (int64_t)\(readBytes);",
      "}",
      "",
    ])
  }

  /// The kernel.
  func values(_ out: inout CWriter) {
    let blocks = "SL_BLOCK" + (valueBlocks > 1 ? " / \(valueBlocks)" : "")
    let tile = valueBlocks > 1 ? "(int)(SL_BLOCK % \(valueBlocks))" : "0"
    out.line("// values: the values of a chunk of a query head, \(2 * valueThreads) a block.")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(valueThreads), 2) void \(kernel)_values(\n"
        + "    SL_CONSTANT_ARGUMENT arguments given)"
    ) { out in
      out.lines([
        "SL_SHARED scratch[];",
        "const arguments *const args = &given;",
        "const int64_t block = \(blocks);",
      ])
      place("block", &out)
      takeMaps(&out)
      out.lines([
        "const sl_values_place place = {",
        "    (int)sl_least(64, end - begin),",
        "    queries_of(args, slot, query_head) + sl_key_panels * sl_panel,",
        "    query_head % group ? NULL : values_of(args, slot, head),",
        "    read_of(args, slot, query_head),",
        "};",
        "sl_prepare_values(sl_address(scratch), maps, place, \(tile));",
      ])
    }
    out.line()
  }

  /// Where the copies of a walk find what stands in the place of v.
  var walkedPlaces: [String] {
    guard hasValueGate else { return ["place.values = place.ends = place.read = NULL;"] }
    return [
      "const char *const values = values_of(args, slot, place.head);",
      "place.values = values + place.value / 64 * (2 * sl_panel);",
      "place.ends = values + SL_VALUE_PANELS * 2 * sl_panel + place.value * 4;",
      "place.read = read_of(args, slot, own_head) + place.value / 64 * sl_read_panel;",
    ]
  }
  /// Bytes from a chunk's to the next one's.
  var valueSteps: [String] {
    guard hasValueGate else { return ["0, 0,"] }
    return [
      "given.heads * (int64_t)\(valueBytes), given.query_heads * (int64_t)\(readBytes),"
    ]
  }

  /// Its launch.
  var launchValues: [String] {
    guard hasValueGate else { return [] }
    let blocks =
      "chunk_slots(args) * args->query_heads" + (valueBlocks > 1 ? " * \(valueBlocks)" : "")
    return ["if (!problem) problem = add(&all, 1, \(blocks), given + 2);"]
  }
}
