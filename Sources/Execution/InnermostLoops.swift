import Targets

/// Finds one function's innermost loops: from the place that a branch jumps back to, to that branch,
/// where no other loop lies between.
struct InnermostLoops {
  private var loops: Set<Range<Int>> = []

  /// Takes an instruction into account that stands at `start` and is followed by the one at `end`,
  /// bytes from the function's own start.
  mutating func visit(_ instruction: Instruction, from start: Int, to end: Int) {
    guard instruction.kind == .branch, let operand = instruction.operands.last,
      let distance = Int(operand.drop { $0 == "#" })
    else { return }
    let target = (instruction.architecture == .x86 ? end : start) + distance
    if target >= 0, target <= start { loops.insert(target..<end) }
  }

  /// By their places.
  var ranges: [Range<Int>] {
    loops.filter { loop in
      !loops.contains {
        $0 != loop && loop.lowerBound <= $0.lowerBound && $0.upperBound <= loop.upperBound
      }
    }.sorted { $0.lowerBound < $1.lowerBound }
  }
}
