import Recurrences

/// Runs a program's instructions backwards: from the adjoint of what each computed to those of what
/// it read, which are added up.
final class Adjoints {
  private let machine: Machine
  /// Whether square roots count as constants, so that nothing flows back through a norm.
  private let holdsNorms: Bool
  /// Where each slot's adjoint is. Constants have one too, and nobody reads it.
  var places: [UnsafeMutablePointer<Double>]

  init(_ machine: Machine, holdsNorms: Bool) {
    self.machine = machine
    self.holdsNorms = holdsNorms
    places = machine.program.slots.map { machine.allocate(machine.shape.count($0.axes)) }
  }

  /// Sets the adjoints of what `runs` compute to zero.
  func clear(_ runs: [Program.Run]) {
    for instruction in runs.flatMap(\.instructions) {
      let count = machine.shape.count(machine.program.slots[instruction.result].axes)
      places[instruction.result].update(repeating: 0, count: count)
    }
  }

  /// - Precondition: the slots hold the values that `runs` computed.
  func run(_ runs: [Program.Run]) {
    for run in runs.reversed() {
      for instruction in run.instructions.reversed() { execute(instruction) }
    }
  }

  private func execute(_ instruction: Program.Instruction) {
    let slots = machine.program.slots
    var axes = slots[instruction.result].axes
    if case .sum = instruction.operation { axes = slots[instruction.left].axes }
    let size = (
      rows: axes == .keyValue ? machine.shape.key : 1, columns: machine.columns(axes)
    )
    func view(_ places: [UnsafeMutablePointer<Double>], _ slot: Int) -> View {
      machine.view(places[slot], of: slots[slot].axes, on: axes, row: 0)
    }
    let (given, result) = (
      view(places, instruction.result), view(machine.places, instruction.result)
    )
    let (left, x) = (view(places, instruction.left), view(machine.places, instruction.left))
    switch instruction.operation {
    case .copy, .sum:
      View.each(size) { r, c in left.at(r, c).pointee += given.at(r, c).pointee }
    case .monomials:
      let adjoint = Monomials.adjoint(
        machine.vector(places[instruction.result], .key),
        at: machine.vector(machine.places[instruction.left], .feature))
      for (place, own) in adjoint.enumerated() { places[instruction.left][place] += own }
    case .unary(.sqrt) where holdsNorms: break
    case .unary(let function):
      View.each(size) { r, c in
        let adjoint = given.at(r, c).pointee
        // Where nothing flows back, an infinite slope (of a decay's inner exponential) is no matter.
        if adjoint != 0 {
          let slope = function.slope(x.at(r, c).pointee, result.at(r, c).pointee)
          left.at(r, c).pointee += adjoint * slope
        }
      }
    case .binary(let function):
      guard let second = instruction.right else { return }
      let (right, y) = (view(places, second), view(machine.places, second))
      View.each(size) { r, c in
        let adjoint = given.at(r, c).pointee
        let (a, b) = (x.at(r, c).pointee, y.at(r, c).pointee)
        let (toLeft, toRight): (Double, Double) =
          switch function {
          case .add: (adjoint, adjoint)
          case .subtract: (adjoint, -adjoint)
          case .multiply: (adjoint * b, adjoint * a)
          case .divide: (adjoint / b, -adjoint * result.at(r, c).pointee / b)
          case .maximum: a > b ? (adjoint, 0) : (0, adjoint)
          case .minimum: a < b ? (adjoint, 0) : (0, adjoint)
          }
        left.at(r, c).pointee += toLeft
        right.at(r, c).pointee += toRight
      }
    }
  }
}

extension View {
  @inline(__always)
  fileprivate func at(_ row: Int, _ column: Int) -> UnsafeMutablePointer<Double> {
    base + (row * self.row + column * self.column)
  }

  @inline(__always)
  fileprivate static func each(
    _ size: (rows: Int, columns: Int), _ visit: (Int, Int) -> Void
  ) {
    for row in 0..<size.rows {
      for column in 0..<size.columns { visit(row, column) }
    }
  }
}

extension Expression.Unary {
  /// The derivative at x, where the function's value is y.
  fileprivate func slope(_ x: Double, _ y: Double) -> Double {
    switch self {
    case .negate: -1
    case .exp: y
    case .log: 1 / x
    // Not y * (1 - y), whose second factor loses its digits where y is near one.
    case .sigmoid: y * Self.sigmoid.apply(-x)
    case .logSigmoid: Self.sigmoid.apply(-x)
    case .softplus: Self.sigmoid.apply(x)
    case .tanh: 1 - y * y
    case .relu: x > 0 ? 1 : 0
    case .abs: x > 0 ? 1 : x < 0 ? -1 : 0
    case .sqrt: 0.5 / y
    case .oneMinusExp: -Self.exp.apply(x)
    }
  }
}
