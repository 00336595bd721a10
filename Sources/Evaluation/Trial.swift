/// Calls that are judged together.
struct Trial: Sendable {
  var group: Assessment.Check.Group
  var name: String
  var calls: [KernelCall]
  /// Only asked when every call returned what it was to return.
  var judge: @Sendable ([CallResult]) throws -> [Assessment.Check]
  /// What can be called only when these results are known.
  var next: (@Sendable ([CallResult]) throws -> Trial)?

  init(
    _ group: Assessment.Check.Group, _ name: String, _ calls: [KernelCall],
    judge: @escaping @Sendable ([CallResult]) throws -> [Assessment.Check] = { _ in [] },
    next: (@Sendable ([CallResult]) throws -> Trial)? = nil
  ) {
    self.group = group
    self.name = name
    self.calls = calls
    self.judge = judge
    self.next = next
  }

  /// A call whose arguments are damaged, and the code that it must return.
  static func mistake(
    _ name: String, _ call: KernelCall, _ code: Int32,
    _ damage: @escaping @Sendable (inout ArgumentBlock) -> Void
  ) -> Trial {
    var call = call
    call.expectedCode = code
    call.damage = damage
    return Trial(.abi, name, [call]) { _ in
      [Assessment.Check(.abi, name, "returns \(code)", holds: true)]
    }
  }

  /// Multiply-adds of the useful work: every call runs twice, and the reference once.
  var cost: Double {
    calls.reduce(0) { sum, call in
      let shape = call.problem.shape
      return sum + 2 * Double(shape.batch * shape.length)
        * Double((shape.heads + shape.queryHeads) * shape.key * shape.value)
    }
  }

  /// Bytes of the case file, roughly.
  var bytes: Int {
    calls.reduce(0) { sum, call in
      sum + call.problem.inputs.values.reduce(0) { $0 + 4 * $1.count }
        + 8 * (call.problem.initialState?.count ?? 0) + 4 * call.problem.shape.outputCount
    }
  }

  /// A failing check for a call that did not return what it was to; nil when all did.
  func failure(_ results: [CallResult]) -> Assessment.Check? {
    for (call, result) in zip(calls, results) where result.ending != .returned(call.expectedCode) {
      return Assessment.Check(
        group, name, "returns \(call.expectedCode)", holds: false,
        detail: result.ending.description + Self.circumstances(call))
    }
    return nil
  }

  static func circumstances(_ call: KernelCall) -> String {
    " (\(call.problem.name), \(call.threads) threads, layout \(call.layout)"
      + "\(call.isFlush ? ", flush against a guard page" : ""))"
  }
}
