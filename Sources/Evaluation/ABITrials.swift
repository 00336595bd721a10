import Recurrences

/// Bad arguments, one at a time, and the code that each must give.
struct ABITrials: Sendable {
  let subject: Subject
  let options: VerifyOptions

  private typealias Damage = @Sendable (inout ArgumentBlock) -> Void

  var all: [Trial] {
    get throws {
      let row = try DrawnProblem(
        ProblemRecipe("arguments", [5]).with {
          $0.hasInitialState = true
          $0.group = 2
        }, for: subject, seed: options.seed)
      let packed = try DrawnProblem(
        ProblemRecipe("packed arguments", [2, 3]).with { $0.hasInitialState = true },
        for: subject, seed: options.seed)
      return rows.map { trial($0.0, row, $0.1, $0.2) }
        + sequences.map { trial($0.0, packed, 4, $0.1) }
    }
  }

  private var rows: [(String, Int32, Damage)] {
    let first = subject.recurrence.inputs.first { $0.role != .parameter }!.name
    var cases: [(String, Int32, Damage)] = [
      ("another ABI", 1, { $0.abi = 2 }),
      ("another struct size", 1, { $0.size -= 8 }),
      ("no \(first)", 2, { $0.missing = [first] }),
      ("no output", 2, { $0.missing = ["o"] }),
      ("no workspace", 2, { $0.missing = ["workspace"] }),
      ("a negative batch", 3, { $0.batch = -1 }),
      ("a negative length", 3, { $0.length = -1 }),
      ("no heads", 3, { $0.heads = 0 }),
      ("query heads that are no multiple", 3, { $0.queryHeads = 3 }),
      ("negative query heads", 3, { $0.queryHeads = -2 }),
      ("a length beyond 64 bits of elements", 3, { $0.length = 1 << 61 }),
      ("a workspace too small", 5, { $0.workspaceSize -= 1 }),
      ("a misaligned workspace", 6, { $0.misaligned = ["workspace"] }),
      ("a misaligned \(first)", 6, { $0.misaligned = [first] }),
      ("a misaligned output", 6, { $0.misaligned = ["o"] }),
      ("a misaligned initial state", 6, { $0.misaligned = ["initial_state"] }),
      ("a misaligned final state", 6, { $0.misaligned = ["final_state"] }),
      ("an unknown layout", 7, { $0.layout = 2 }),
      ("negative threads", 7, { $0.threads = -1 }),
    ]
    if let parameter = subject.recurrence.inputs.first(where: { $0.role == .parameter })?.name {
      cases.append(("no \(parameter)", 2, { $0.missing = [parameter] }))
    }
    return cases
  }

  private var sequences: [(String, Damage)] {
    [
      ("sequences that do not begin at 0", { $0.cumulativeLengths = [1, 2, 5] }),
      ("sequences that fall", { $0.cumulativeLengths = [0, 6, 5] }),
      ("sequences that end early", { $0.cumulativeLengths = [0, 2, 4] }),
      ("packed sequences in two rows", { $0.batch = 2 }),
    ]
  }

  private func trial(
    _ name: String, _ problem: DrawnProblem, _ code: Int32, _ damage: @escaping Damage
  ) -> Trial {
    .mistake(name, KernelCall(problem: problem), code, damage)
  }
}
