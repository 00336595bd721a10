/// An axis, or the lack of one, as a type: what makes a wrong axis an error of the compiler.
public protocol AxisTag: Sendable {
  static var axes: Axes { get }
}

/// One axis or both: what a scalar is repeated along.
public protocol VectorTag: AxisTag {}

public enum NoAxis: AxisTag { public static let axes: Axes = .scalar }
public enum KeyAxis: VectorTag { public static let axes: Axes = .key }
public enum ValueAxis: VectorTag { public static let axes: Axes = .value }
public enum FeatureAxis: VectorTag { public static let axes: Axes = .feature }
public enum BothAxes: VectorTag { public static let axes: Axes = .keyValue }

/// An expression whose axes the compiler knows.
///
/// `q * v` of a key vector and a value vector does not compile; `outer(k, v)` and
/// `contract(q, state)` say what is meant. A scalar goes with everything.
public struct Term<A: AxisTag>: Hashable, Sendable {
  public let expression: Expression
  public init(_ expression: Expression) { self.expression = expression }
}

public typealias Scalar = Term<NoAxis>
public typealias KeyVector = Term<KeyAxis>
public typealias ValueVector = Term<ValueAxis>
public typealias FeatureVector = Term<FeatureAxis>
public typealias StateMatrix = Term<BothAxes>

extension Term: ExpressibleByFloatLiteral {
  public init(floatLiteral value: Double) { self.init(.constant(value)) }
}

extension Term: ExpressibleByIntegerLiteral {
  public init(integerLiteral value: Int) { self.init(.constant(Double(value))) }
}

public func + <A>(left: Term<A>, right: Term<A>) -> Term<A> {
  Term(left.expression + right.expression)
}
public func - <A>(left: Term<A>, right: Term<A>) -> Term<A> {
  Term(left.expression - right.expression)
}
public func * <A>(left: Term<A>, right: Term<A>) -> Term<A> {
  Term(left.expression * right.expression)
}
public func / <A>(left: Term<A>, right: Term<A>) -> Term<A> {
  Term(left.expression / right.expression)
}
public prefix func - <A>(operand: Term<A>) -> Term<A> { Term(-operand.expression) }

/// A scalar term, a term with an axis: neither is ever a literal, which so has one meaning only.
public protocol ScalarTerm { var expression: Expression { get } }
public protocol VectorTerm {
  associatedtype Tag: VectorTag
  var expression: Expression { get }
}
extension Term: ScalarTerm where A == NoAxis {}
extension Term: VectorTerm where A: VectorTag { public typealias Tag = A }

// A scalar goes with everything.
public func * <S: ScalarTerm, V: VectorTerm>(left: S, right: V) -> Term<V.Tag> {
  Term(left.expression * right.expression)
}
public func * <S: ScalarTerm, V: VectorTerm>(left: V, right: S) -> Term<V.Tag> {
  Term(left.expression * right.expression)
}
public func + <S: ScalarTerm, V: VectorTerm>(left: V, right: S) -> Term<V.Tag> {
  Term(left.expression + right.expression)
}
public func + <S: ScalarTerm, V: VectorTerm>(left: S, right: V) -> Term<V.Tag> {
  Term(left.expression + right.expression)
}
public func - <S: ScalarTerm, V: VectorTerm>(left: V, right: S) -> Term<V.Tag> {
  Term(left.expression - right.expression)
}
public func - <S: ScalarTerm, V: VectorTerm>(left: S, right: V) -> Term<V.Tag> {
  Term(left.expression - right.expression)
}
public func / <S: ScalarTerm, V: VectorTerm>(left: V, right: S) -> Term<V.Tag> {
  Term(left.expression / right.expression)
}
public func / <S: ScalarTerm, V: VectorTerm>(left: S, right: V) -> Term<V.Tag> {
  Term(left.expression / right.expression)
}

// A vector acts on the rows or the columns of a state.
public func * (left: KeyVector, right: StateMatrix) -> StateMatrix {
  StateMatrix(left.expression * right.expression)
}
public func * (left: StateMatrix, right: ValueVector) -> StateMatrix {
  StateMatrix(left.expression * right.expression)
}

/// `k v^T`: the matrix with `k[i] * v[j]` at row i, column j.
public func outer(_ key: KeyVector, _ value: ValueVector) -> StateMatrix {
  StateMatrix(key.expression * value.expression)
}
/// `S^T q`: the sum over the key axis.
public func contract(_ query: KeyVector, _ state: StateMatrix) -> ValueVector {
  ValueVector(.sum(.key, query.expression * state.expression))
}
/// `S v`: the sum over the value axis.
public func contract(_ state: StateMatrix, _ value: ValueVector) -> KeyVector {
  KeyVector(.sum(.value, state.expression * value.expression))
}
/// `q . k`: the sum over the key axis of the products.
public func dot(_ left: KeyVector, _ right: KeyVector) -> Scalar {
  Scalar(.sum(.key, left.expression * right.expression))
}
/// The sum of a vector's entries.
public func sum(_ vector: KeyVector) -> Scalar { Scalar(.sum(.key, vector.expression)) }
public func sum(_ vector: ValueVector) -> Scalar { Scalar(.sum(.value, vector.expression)) }
public func sum(_ vector: FeatureVector) -> Scalar { Scalar(.sum(.feature, vector.expression)) }

/// The mean of a vector's entries.
public func mean(_ vector: KeyVector) -> Scalar {
  sum(vector) / Scalar(.sum(.key, .constant(1)))
}
public func mean(_ vector: ValueVector) -> Scalar {
  sum(vector) / Scalar(.sum(.value, .constant(1)))
}
/// The vector over the root of the mean of its squares: RMS norm without its weight.
public func rmsNorm(_ vector: ValueVector, epsilon: Scalar = 1e-5) -> ValueVector {
  vector / sqrt(mean(vector * vector) + epsilon)
}
/// The vector over its length, with a floor under the sum of squares.
public func l2Norm(_ vector: KeyVector, epsilon: Scalar = 1e-6) -> KeyVector {
  vector / sqrt(sum(vector * vector) + epsilon)
}
/// The same of features.
public func l2Norm(_ vector: FeatureVector, epsilon: Scalar = 1e-6) -> FeatureVector {
  vector / sqrt(sum(vector * vector) + epsilon)
}
/// The Taylor-2 feature map (Arora et al. 2024, Based): of d features their `Monomials`, scaled so that
/// `taylor2(q) . taylor2(k) = 1 + s + s^2 / 2` with `s = q . k / sqrt(d)`.
public func taylor2(_ vector: FeatureVector) -> KeyVector {
  let size = Scalar(.sum(.feature, .constant(1)))
  return KeyVector(.monomials((vector / sqrt(sqrt(size))).expression))
}
/// The softmax over the key axis, of entries whose exponentials f32 can hold.
public func softmax(_ vector: KeyVector) -> KeyVector { exp(vector) / sum(exp(vector)) }
/// The feature map `elu(x) + 1`, which is positive.
public func eluPlusOne(_ vector: KeyVector) -> KeyVector { relu(vector) + exp(min(vector, 0)) }
/// `x sigmoid(x)`, also called SiLU.
public func swish<A>(_ operand: Term<A>) -> Term<A> { operand * sigmoid(operand) }

public func exp<A>(_ operand: Term<A>) -> Term<A> { Term(.unary(.exp, operand.expression)) }
public func log<A>(_ operand: Term<A>) -> Term<A> { Term(.unary(.log, operand.expression)) }
public func sigmoid<A>(_ operand: Term<A>) -> Term<A> { Term(.unary(.sigmoid, operand.expression)) }
public func tanh<A>(_ operand: Term<A>) -> Term<A> { Term(.unary(.tanh, operand.expression)) }
public func relu<A>(_ operand: Term<A>) -> Term<A> { Term(.unary(.relu, operand.expression)) }
public func abs<A>(_ operand: Term<A>) -> Term<A> { Term(.unary(.abs, operand.expression)) }
public func sqrt<A>(_ operand: Term<A>) -> Term<A> { Term(.unary(.sqrt, operand.expression)) }
/// `log(1 + e^x)`.
public func softplus<A>(_ operand: Term<A>) -> Term<A> {
  Term(.unary(.softplus, operand.expression))
}
/// `log(sigmoid(x))`.
public func logSigmoid<A>(_ operand: Term<A>) -> Term<A> {
  Term(.unary(.logSigmoid, operand.expression))
}
/// `1 - e^x`, exact near zero.
public func oneMinusExp<A>(_ operand: Term<A>) -> Term<A> {
  Term(.unary(.oneMinusExp, operand.expression))
}
public func max<A>(_ left: Term<A>, _ right: Term<A>) -> Term<A> {
  Term(.binary(.maximum, left.expression, right.expression))
}
public func min<A>(_ left: Term<A>, _ right: Term<A>) -> Term<A> {
  Term(.binary(.minimum, left.expression, right.expression))
}
