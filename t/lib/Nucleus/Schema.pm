package Nucleus::Schema;

# As much of JSON Schema (2020-12) as docs/*.schema.json need: a schema with another keyword is
# refused, so that nothing passes because nobody looked at it.
#
#     my $schema = Nucleus::Schema->load($file);
#     my $wrong = $schema->wrong_text($json);     # undef when it conforms, else why not

use strict;
use warnings;

use JSON::PP ();

my %KNOWN = map { $_ => 1 }
    qw($schema $id title description type required additionalProperties properties enum pattern minLength minimum);

sub load {
    my ($class, $file) = @_;

    open my $fh, '<:raw', $file or die "open of $file failed: $!\n";
    local $/;
    my $schema = JSON::PP->new->utf8->decode(scalar <$fh>);
    check_keywords($schema);

    return bless { schema => $schema }, $class;
}

sub check_keywords {
    my ($schema) = @_;

    for my $keyword (keys %$schema) {
        die "the keyword \"$keyword\" is not known here\n" if !$KNOWN{$keyword};
    }

    die "additionalProperties is always false here\n" if $schema->{additionalProperties};
    check_keywords($_) for values %{ $schema->{properties} // {} };
}

sub properties { return sort keys %{ $_[0]{schema}{properties} } }

sub wrong_text {
    my ($self, $text) = @_;

    my $json = eval { JSON::PP->new->utf8->decode($text) };
    return 'it is no JSON' if !defined $json;

    return wrong($self->{schema}, $json, 'it');
}

sub is_number { return !ref $_[0] && defined $_[0] && JSON::PP->new->allow_nonref->encode($_[0]) =~ /^-?[0-9]/ }

my %TYPE = (
    object  => sub { ref $_[0] eq 'HASH' },
    string  => sub { defined $_[0] && !ref $_[0] && !is_number($_[0]) },
    integer => sub { is_number($_[0]) && $_[0] =~ /^-?[0-9]+$/ },
);

sub wrong {
    my ($schema, $value, $name) = @_;

    my $type = $schema->{type};
    return "$name is no $type" if !($TYPE{$type} // die "the type \"$type\" is not known here\n")->($value);

    if ($schema->{enum} && !grep { $_ eq $value } @{ $schema->{enum} }) {
        return "$name is \"$value\"";
    }

    return "$name is \"$value\"" if defined $schema->{pattern} && $value !~ /$schema->{pattern}/;
    return "$name is too short" if defined $schema->{minLength} && length $value < $schema->{minLength};
    return "$name is $value" if defined $schema->{minimum} && $value < $schema->{minimum};

    return if $type ne 'object';

    for my $member (@{ $schema->{required} // [] }) {
        return "\"$member\" is missing" if !exists $value->{$member};
    }

    for my $member (sort keys %$value) {
        my $property = $schema->{properties}{$member} or return "\"$member\" is not in the schema";
        my $wrong = wrong($property, $value->{$member}, "\"$member\"");
        return $wrong if defined $wrong;
    }

    return;
}

1;
