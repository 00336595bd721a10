import Recurrences
import Schedules
import TileIR

/// The kernel of `warpgroup-prepared` that sums up segments.
extension PreparedEmitter {
  func summarize(_ out: inout CWriter) {
    out.line("// The sums, one a sequence, segment but the last, head and value tile.")
    out.line("struct walks_of_summarize {")
    let places =
      [
        "  const int own_head = place.query_head;",
        "  const int64_t slot = slot_of(args, sequence) + (place.begin - first_token) / 64;",
        "  (void)own_head;",
        "  place.queries = NULL;",
        "  place.keys = keys_of(args, slot, place.head);",
      ] + (hasValueGate ? [] : ["  place.value_decay = NULL;"]) + walkedPlaces.map { "  " + $0 }
      + ["  return place;", "}"]
    out.lines((walkMembers + sumPlaces(segments!) + places).map { "  " + $0 })
    out.lines(["};", ""])
    out.line("// summarize: every block takes its share of the segments.")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(walkThreads), 1) void \(kernel)_summarize(\n"
        + "    SL_CONSTANT_ARGUMENT sl_tensor values, SL_CONSTANT_ARGUMENT arguments given)"
    ) {
      $0.lines(
        ["const walks_of_summarize walks = {"] + walkSteps + [
          "    0,", "};", "sl_prepared_sums(walks, &values);",
        ])
    }
    out.line()
  }
}
